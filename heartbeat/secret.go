package heartbeat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/mcphub-go/mcphub/store"
)

// FleetCredential derives what a coordinator presents to nodes from the key of the fleet: the
// cluster secret, or the random key agreed through the store.
func FleetCredential(fleetKey []byte) string {
	return mac(fleetKey, "mcphub-node-credential-v1")
}

// KeyPrint tells the keys of fleets apart: replicas that keep it beside their record notice
// that one has another. It is cut so short that it is of little use for anything else; for
// guessing a weak secret the session ids that clients hold are a better start.
func KeyPrint(fleetKey []byte) string {
	return mac(fleetKey, "mcphub-key-print-v1")[:12]
}

// GrantProof shows that whoever made a grant knows the cluster secret.
func GrantProof(secret string, instance store.Instance, e store.Epoch, credential string) string {
	return mac([]byte(secret), "mcphub-grant-v1\n"+string(instance)+"\n"+strconv.FormatInt(int64(e), 10)+"\n"+credential)
}

// ChallengeMAC is a node's answer to POST /api/node/challenge: it shows that the process at
// the address is this instance of the node. Without a cluster secret the key is the instance
// itself, which only the node and the coordinators know; so it is told to nobody else.
func ChallengeMAC(secret string, nonce string, id store.NodeID, instance store.Instance) string {
	key := secret
	if key == "" {
		key = string(instance)
	}
	return mac([]byte(key), "mcphub-challenge-v1\n"+nonce+"\n"+string(id)+"\n"+string(instance))
}

func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// equal compares in a time that does not depend on where a and b differ.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return hmac.Equal(x[:], y[:])
}
