package router

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxInstructions bounds the instructions of all servers together, in bytes: clients put them
// into the context of their model.
const maxInstructions = 16 << 10

// cutNote ends instructions that were cut.
const cutNote = " […]"

// instructions joins what the servers say of how to use them, each under its name. If that is too
// much, the longest ones are cut, all to the same length, so that no server crowds out another.
func (s stock) instructions() string {
	var texts, heads []string
	room := maxInstructions
	for i := range s {
		if s[i].cat == nil || s[i].away {
			continue
		}
		if text := strings.TrimSpace(s[i].cat.instructions); text != "" {
			head := "# " + string(s[i].server) + "\n\n"
			texts, heads = append(texts, text), append(heads, head)
			room -= len(head) + len("\n\n")
		}
	}
	most := fairShare(texts, max(0, room))
	var out []string
	for i, text := range texts {
		if text = cutText(text, most); text != "" {
			out = append(out, heads[i]+text)
		}
	}
	return cutText(strings.Join(out, "\n\n"), maxInstructions)
}

// fairShare is the length to which texts are cut so that together they fit into room.
func fairShare(texts []string, room int) int {
	lengths := make([]int, len(texts))
	for i, text := range texts {
		lengths[i] = len(text)
	}
	slices.Sort(lengths)
	for i, n := range lengths {
		left := len(lengths) - i
		if n*left > room {
			return room / left
		}
		room -= n
	}
	return maxInstructions
}

// cutText shortens a text to at most n bytes, between two characters.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	if n -= len(cutNote); n <= 0 {
		return ""
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + cutNote
}
