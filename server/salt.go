package server

import (
	"crypto/rand"
	"crypto/sha256"
)

func randomSalt() (salt [sha256.Size]byte) {
	_, _ = rand.Read(salt[:]) // never fails
	return salt
}
