package server

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// admins knows who may make management calls.
type admins struct {
	token bearer
	users map[string]User
	cost  int // the highest bcrypt cost of a user, which every comparison takes

	bcrypt   func(hash, password []byte) error
	verified *verified
	turns    chan struct{} // bcrypt is made to be slow: strangers may not have all processors
}

func newAdmins(token string, users []User) admins {
	a := admins{
		token: newBearer(token), users: map[string]User{},
		bcrypt:   bcrypt.CompareHashAndPassword,
		verified: newVerified(), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	for _, u := range users {
		a.users[u.Name] = u
		if c, err := bcrypt.Cost([]byte(u.PasswordHash)); err == nil {
			a.cost = max(a.cost, c)
		}
	}
	return a
}

// decoy is a hash of a cost that no password has, or none that anybody knows.
func decoy(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

// compare says whether the password is that of the hash, in the time that the highest cost takes
// whatever the hash's own is: what it lacks to that is spent on decoys. A step of cost doubles
// the time, so one decoy of each cost from its own up to below the highest adds up to it.
func (a *admins) compare(hash, password []byte) bool {
	right := a.bcrypt(hash, password) == nil
	own, _ := bcrypt.Cost(hash) // zero for none, and decoys of less than the least cost take no time
	for c := own; c < a.cost; c++ {
		_ = a.bcrypt(decoy(c), password) // for the time it takes
	}
	return right
}

func (a *admins) configured() bool { return a.token.asked() || len(a.users) > 0 }

// check lets an admin through. It takes the same time whether the name or the password is
// wrong, and whoever's it is.
func (a *admins) check(r *http.Request) *problem {
	if a.token.admits(r) {
		return nil
	}
	name, password, ok := r.BasicAuth()
	if !ok || len(a.users) == 0 {
		return a.unknown()
	}
	user, known := a.users[name]
	if !a.matches(r, user, known, password) {
		return a.unknown()
	}
	if !user.IsAdmin {
		return refuse(http.StatusForbidden, "this user is not an admin")
	}
	return nil
}

func (a *admins) unknown() *problem {
	var ways []string
	if len(a.users) > 0 {
		ways = append(ways, `Basic realm="mcphub", charset="UTF-8"`)
	}
	if a.token.asked() {
		ways = append(ways, `Bearer realm="mcphub"`)
	}
	return &problem{status: http.StatusUnauthorized, challenge: strings.Join(ways, "\n"),
		message: "an admin is needed here: Authorization: Bearer <cluster.adminToken>, or a user's name and password where there are users"}
}

func (a *admins) matches(r *http.Request, user User, known bool, password string) bool {
	hash := decoy(a.cost)
	if known {
		hash = []byte(user.PasswordHash)
		if a.verified.has(user, password) {
			return true
		}
	}
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-r.Context().Done():
		return false
	}
	if !a.compare(hash, []byte(password)) || !known {
		return false
	}
	a.verified.mark(user, password)
	return true
}

// verified remembers for a while which passwords were right, by their digests, so that a
// dashboard does not cost a bcrypt each second. It is safe for concurrent use.
type verified struct {
	mu   sync.Mutex
	salt [sha256.Size]byte
	at   map[[sha256.Size]byte]time.Time
}

const (
	verifiedFor = 5 * time.Minute
	maxVerified = 1000
)

func newVerified() *verified {
	return &verified{salt: randomSalt(), at: map[[sha256.Size]byte]time.Time{}}
}

// key depends on the hash, so that a changed password is asked for at once.
func (v *verified) key(u User, password string) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range []string{string(v.salt[:]), u.Name, u.PasswordHash, password} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (v *verified) has(u User, password string) bool {
	k := v.key(u, password)
	v.mu.Lock()
	defer v.mu.Unlock()
	at, ok := v.at[k]
	return ok && time.Since(at) < verifiedFor
}

func (v *verified) mark(u User, password string) {
	k := v.key(u, password)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.at) >= maxVerified {
		clear(v.at)
	}
	v.at[k] = time.Now()
}
