package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Access is who may come in. All of it can be replaced while the hub runs.
type Access struct {
	// RequireKey asks MCP clients for one of Keys; without it Keys are not looked at. With it and
	// without a key nobody gets in. Setting: routing.enableBearerAuth.
	RequireKey bool
	// Keys are those that open MCP endpoints. Settings: routing.bearerAuthKey, bearerKeys.
	Keys []Key
	// AdminToken opens management calls. Setting: cluster.adminToken.
	AdminToken string
	// Users may sign in to management calls by HTTP Basic. Where there are neither users nor
	// a token, loopback and private addresses may do everything.
	Users []User
}

// Key opens MCP endpoints to whoever shows it.
//
// A group may be used by a key that names the group, or that names every server in it. A server
// may be used by a key that names the server; naming a group that it is in is not enough, since
// the group may offer a part of it. That is how MCPHub has it. The endpoint over all servers,
// which MCPHub closes to limited keys, shows them the servers that they name and those that
// their groups offer whole.
type Key struct {
	// Name is whose key it is: sessions are bound to it, so that a key can be given another value
	// and its sessions go on. Two keys of one name, the old value and the new, must have the same
	// limits. The empty name is that of routing.bearerAuthKey.
	Name string
	// Key is the secret.
	Key string
	// All opens everything; Groups and Servers must then be empty.
	All bool
	// Groups and Servers are the names that the key opens.
	Groups, Servers []string
}

// User may sign in by HTTP Basic.
type User struct {
	Name string
	// PasswordHash is a bcrypt hash.
	PasswordHash string
	// IsAdmin opens management calls; others are refused there with 403.
	IsAdmin bool
}

// Validate joins everything that is wrong into one error, which repeats no secret.
func (a Access) Validate() error {
	var errs []error
	for _, u := range a.Users {
		if u.Name == "" || strings.Contains(u.Name, ":") {
			errs = append(errs, errors.New("users: a name must not be empty or hold a colon"))
		}
		if _, err := bcrypt.Cost([]byte(u.PasswordHash)); err != nil {
			errs = append(errs, fmt.Errorf("users: the password of %q is not a bcrypt hash", u.Name))
		}
	}
	for i, k := range a.Keys {
		if err := k.validate(a.Keys[:i]); err != nil {
			errs = append(errs, fmt.Errorf("bearer key %q: %w", k.Name, err))
		}
	}
	return errors.Join(errs...)
}

// validate judges a key and how it goes with those before it.
func (k Key) validate(before []Key) error {
	switch {
	case k.Key == "":
		return errors.New("it is empty")
	case strings.TrimSpace(k.Key) != k.Key:
		return errors.New("it begins or ends with a blank, which does not arrive in a header")
	case k.All && len(k.Groups)+len(k.Servers) > 0:
		return errors.New("it opens everything, and is limited as well")
	}
	for _, name := range slices.Concat(k.Groups, k.Servers) {
		if err := wire.CheckName("name", name); err != nil {
			return err
		}
	}
	for _, other := range before {
		if other.Key == k.Key {
			return fmt.Errorf("it is the same as that of %q", other.Name)
		}
		if other.Name == k.Name && !k.sameLimits(other) {
			return errors.New("two keys of this name have different limits")
		}
	}
	return nil
}

func (k Key) sameLimits(other Key) bool {
	return k.All == other.All && maps.Equal(setOf(k.Groups), setOf(other.Groups)) && maps.Equal(setOf(k.Servers), setOf(other.Servers))
}

// SetAccess replaces who may come in, at once and as a whole; requests that have been let in go
// on. Sessions stay with the names of keys: those of a name that is gone are unknown from then on.
// If a is not valid everything stays as it was.
func (s *Server) SetAccess(a Access) error {
	if err := a.Validate(); err != nil {
		return err
	}
	next := newAccess(a, s.access.Load())
	last := s.access.Swap(next)
	if last.admins.configured() && !next.admins.configured() {
		s.log.Warn(openToNeighbours)
	}
	if last.keyed && !next.keyed {
		s.log.Warn(openToClients)
	}
	return nil
}

// openToClients is said where keys were asked for until now: a list of keys whose last one is
// deleted asks for none any more.
const openToClients = "MCP clients come in without a bearer key from now on; set routing.enableBearerAuth to keep asking for one"

// openToNeighbours is said where no admin is configured, at the start and from then on.
const openToNeighbours = "no admin is configured: management calls and the status page answer to everyone on loopback and private addresses; set cluster.adminToken"

// access is Access, ready for use. It is not changed once made.
type access struct {
	keyed  bool // MCP clients are asked for a key
	sums   [][sha256.Size]byte
	keys   []*clientKey // by the order of sums
	admins admins
}

// newAccess makes it; last is the one before, or nil.
func newAccess(a Access, last *access) *access {
	out := &access{keyed: a.RequireKey, admins: newAdmins(a.AdminToken, a.Users)}
	if last != nil {
		out.admins.verified, out.admins.turns = last.admins.verified, last.admins.turns
	}
	for _, k := range a.Keys {
		out.sums = append(out.sums, sha256.Sum256([]byte(k.Key)))
		out.keys = append(out.keys, newClientKey(k))
	}
	return out
}

// client says whose key a request shows. Where none is asked for it is anyone's.
func (a *access) client(r *http.Request) (*clientKey, *problem) {
	if !a.keyed {
		return anyone, nil
	}
	if sum, ok := shownKey(r); ok {
		if i := oneOf(a.sums, sum); i >= 0 {
			return a.keys[i], nil
		}
	}
	return nil, &problem{status: http.StatusUnauthorized, challenge: `Bearer realm="mcphub"`,
		message: "a bearer key is needed: Authorization: Bearer <key>"}
}

// named is the key with the name that k had when it was shown, which may have other limits and
// another value by now, or nil if there is none any more.
func (a *access) named(k *clientKey) *clientKey {
	if !a.keyed {
		if k.subject == "" {
			return anyone
		}
		return nil
	}
	for _, key := range a.keys {
		if key.subject == k.subject {
			return key
		}
	}
	return nil
}

// shownKey is the digest of the key in Authorization.
func shownKey(r *http.Request) (sum [sha256.Size]byte, ok bool) {
	scheme, key, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return sum, false
	}
	return sha256.Sum256([]byte(strings.TrimLeft(key, " "))), true
}

// oneOf is the place of a digest among sums, or -1. It compares with every one in constant time,
// so that the time tells neither how much of a key is right nor which one it is.
func oneOf(sums [][sha256.Size]byte, sum [sha256.Size]byte) int {
	at := -1
	for i := range sums {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], sums[i][:]), i, at)
	}
	return at
}

func setOf[T ~string](names []T) map[T]bool {
	set := make(map[T]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

func serverIDs(names []string) []store.ServerID {
	ids := make([]store.ServerID, len(names))
	for i, n := range names {
		ids[i] = store.ServerID(n)
	}
	return ids
}
