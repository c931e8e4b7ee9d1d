package config

import "strings"

// nearest returns the known word that was probably meant by word, or "" when none is near.
// Words that differ only in case, hyphens and underscores are nearest of all; then those
// within a number of single edits that grows with the word and is at most limit.
func nearest(word string, known []string, limit int) string {
	if len(word) > maxQuoted {
		return ""
	}
	for _, k := range known {
		if sameLetters(word, k) {
			return k
		}
	}
	best, bestDistance := "", min(limit, max(1, len(word)*2/5))+1
	for _, k := range known {
		if max(len(word)-len(k), len(k)-len(word)) >= bestDistance {
			continue // no fewer edits than letters too many
		}
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// sameLetters reports whether a and b differ in no more than case, hyphens and underscores.
func sameLetters(a, b string) bool {
	for {
		a, b = strings.TrimLeft(a, "-_"), strings.TrimLeft(b, "-_")
		if a == "" || b == "" {
			return a == b
		}
		if lowerByte(a[0]) != lowerByte(b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

// lowerByte is c in lower case, if it is an ASCII letter.
func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// distance counts the single letters to insert, remove, replace or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	var before []int // the row before prev
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(b)]
}
