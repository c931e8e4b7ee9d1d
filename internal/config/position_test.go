package config

import "testing"

func TestPositions(t *testing.T) {
	p := newPositions([]byte("aé\nb\r\n\nçd"))
	// In any order: an answer must not depend on the one before.
	for _, c := range []struct{ offset, line, column int }{
		{0, 1, 1}, {3, 1, 3}, {1, 1, 2}, {4, 2, 1}, {5, 2, 2}, {6, 2, 3}, {7, 3, 1}, {8, 4, 1}, {10, 4, 2}, {11, 4, 3},
		{99, 4, 3}, {8, 4, 1}, {0, 1, 1}, {-1, 1, 1}, {10, 4, 2}, {10, 4, 2},
	} {
		if line, column := p.at(c.offset); line != c.line || column != c.column {
			t.Errorf("at(%d) = %d:%d, want %d:%d", c.offset, line, column, c.line, c.column)
		}
	}
	for _, c := range []struct{ line, column, offset int }{{1, 1, 0}, {2, 2, 5}, {4, 1, 8}, {4, 99, 11}, {9, 1, 11}} {
		if got := p.offset(c.line, c.column); got != c.offset {
			t.Errorf("offset(%d, %d) = %d, want %d", c.line, c.column, got, c.offset)
		}
	}
}
