package config

import (
	"bytes"
	"sort"
	"unicode/utf8"
)

// positions turns byte offsets of a text into lines and columns. It is not safe for
// concurrent use.
type positions struct {
	text   []byte
	starts []int // offset of the first byte of each line
	// The last answer: many problems in one long line are counted on from each other.
	lastOffset, lastLine, lastColumn int
}

func newPositions(text []byte) *positions {
	p := &positions{text: text, starts: []int{0}}
	for i := 0; ; {
		j := bytes.IndexByte(text[i:], '\n')
		if j < 0 {
			return p
		}
		i += j + 1
		p.starts = append(p.starts, i)
	}
}

// at returns the line and the column of the byte at offset, counted from 1, the column in
// characters: what editors show.
func (p *positions) at(offset int) (line, column int) {
	offset = min(max(offset, 0), len(p.text))
	line = sort.SearchInts(p.starts, offset+1)
	from, column := p.starts[line-1], 1
	if line == p.lastLine && p.lastOffset <= offset {
		from, column = p.lastOffset, p.lastColumn
	}
	column += utf8.RuneCount(p.text[from:offset])
	p.lastOffset, p.lastLine, p.lastColumn = offset, line, column
	return line, column
}

// offset is the byte offset of the column-th byte (from 1) of a line (from 1), or that of the
// end when it lies behind it.
func (p *positions) offset(line, column int) int {
	if line > len(p.starts) {
		return len(p.text)
	}
	return min(p.starts[line-1]+column-1, len(p.text))
}
