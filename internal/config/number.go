package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// millis reads a time.
func (d *decoder) millis(k *key, path string, e *element) (time.Duration, bool) {
	bounds := fmt.Sprintf("whole number of milliseconds from %d to %d", minTime.Milliseconds(), maxTime.Milliseconds())
	if k.zero {
		bounds += ", or 0"
	}
	n, err := strconv.ParseFloat(e.text, 64)
	if k.zero && err == nil && n == 0 {
		return 0, true
	}
	if err != nil || n != math.Trunc(n) || n < float64(minTime.Milliseconds()) || n > float64(maxTime.Milliseconds()) {
		d.fail(e.at, path, e.number()+" is not a "+bounds)
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}

// number reads a number that is no time.
func (d *decoder) number(k *key, path string, e *element) {
	n, err := strconv.ParseFloat(e.text, 64)
	whole := k.kind == kindCount
	if err != nil || n < k.min || n > k.max || whole && n != math.Trunc(n) {
		d.fail(e.at, path, fmt.Sprintf("%s is not %s from %v to %v", e.number(), k.kind.want(), exact(k.min), exact(k.max)))
		return
	}
	if whole {
		k.read(d.t, int(n))
		return
	}
	k.read(d.t, n)
}

// exact is n without an exponent, for bounds in messages.
func exact(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// number is the number that e is, as written.
func (e *element) number() string {
	if len(e.text) > maxQuoted {
		return "this number"
	}
	return e.text
}

// defaultNumber is the default of a key whose value is a number.
func (k *key) defaultNumber() float64 {
	n, err := strconv.ParseFloat(k.def, 64)
	if err != nil {
		panic("config: default of " + k.path + ": " + err.Error())
	}
	return n
}
