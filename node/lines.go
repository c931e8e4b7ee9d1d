package node

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// readLines hands out each line of r without its line end, LF or CRLF, until r ends. A line
// is valid until onLine returns; the last one may lack its end. A line of over max bytes ends
// it with errLineTooBig.
func readLines(r io.Reader, max int, onLine func([]byte)) error {
	buf := bufio.NewReaderSize(r, 64<<10)
	var long []byte // the beginning of a line that did not fit the buffer
	for {
		part, err := buf.ReadSlice('\n')
		if len(long)+len(part) > max {
			return errLineTooBig
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		}
		line := part
		if long != nil {
			line, long = append(long, part...), nil
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) > 0 {
			onLine(line)
		}
		if err != nil {
			return err
		}
	}
}
