package router

import (
	"errors"
	"strings"
)

// pattern is a URI template (RFC 6570), made ready to be compared with URIs and with other
// templates. It is never changed once made.
//
// Matching answers one question only: could this server mean this URI? So an expression stands
// for any text of the characters that its operator lets through, and what the variables would be
// is not asked. Servers do not agree on how to match either: some let a simple {name} take
// everything up to the next slash, which RFC 6570 would not produce. Such a match is loose, and
// gives way to a strict one.
type pattern struct {
	text   string
	prefix string // the literal text before the first expression
	states []state
	// What says how specific the template is.
	literals, expressions, open int
}

// state is one place in a pattern: what it accepts there and where that leads.
type state struct {
	lit   byte
	class class // zero: exactly lit
	// A state with a class stays where it is for as long as it accepts, and may be left at any
	// time. skip is how many states may be jumped over from here without accepting anything.
	skip int
}

// class is a set of characters.
type class uint8

const (
	one     class = iota // a single literal, no class
	segment              // neither '/', '?' nor '#'; loose: not '/'
	path                 // neither '?' nor '#'; loose: anything
	query                // not '#'; loose: anything
	anything
)

func (c class) has(b byte, loose bool) bool {
	switch {
	case c == segment:
		return b != '/' && (loose || b != '?' && b != '#')
	case loose:
		return true
	case c == path:
		return b != '?' && b != '#'
	case c == query:
		return b != '#'
	}
	return true
}

// operators of RFC 6570, section 2.2: what an expansion begins with and what may follow.
var operators = map[byte]struct {
	first byte
	class class
}{
	'+': {0, anything}, '#': {'#', anything}, '.': {'.', segment}, '/': {'/', path},
	';': {';', segment}, '?': {'?', query}, '&': {'&', query},
}

// Bounds of what is matched, against templates that are made to be slow.
const (
	maxPattern     = 512  // bytes of a template
	maxExpressions = 32   // in a template
	maxMatched     = 4096 // bytes of a URI
	// matchBudget is what the templates of one server may cost for one URI, in pairs of places:
	// some ten milliseconds, and ten times what 256 templates of a well-meaning server take.
	matchBudget = 1 << 20
)

var (
	errPatternSize   = errors.New("the template is too long, or has too many expressions")
	errPatternSyntax = errors.New("the template does not follow RFC 6570")
)

// parsePattern reads a template.
func parsePattern(text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, errPatternSize
	}
	p := &pattern{text: text}
	for rest := text; rest != ""; {
		lit, after, found := strings.Cut(rest, "{")
		if strings.Contains(lit, "}") {
			return nil, errPatternSyntax
		}
		p.literal(lit)
		if !found {
			break
		}
		expr, next, closed := strings.Cut(after, "}")
		if !closed || !p.expression(expr) {
			return nil, errPatternSyntax
		}
		if p.expressions++; p.expressions > maxExpressions {
			return nil, errPatternSize
		}
		rest = next
	}
	if p.expressions == 0 {
		p.prefix = text
	}
	return p, nil
}

// exactly is the pattern of one URI. One that is too long to be matched has no states, which would
// take many times its size.
func exactly(uri string) *pattern {
	p := &pattern{text: uri, prefix: uri}
	if len(uri) <= maxMatched {
		p.literal(uri)
	}
	return p
}

func (p *pattern) literal(lit string) {
	for i := range len(lit) {
		p.states = append(p.states, state{lit: lit[i]})
	}
	p.literals += len(lit)
	if p.expressions == 0 {
		p.prefix = lit
	}
}

// expression adds what stands between braces.
func (p *pattern) expression(expr string) bool {
	if expr == "" {
		return false
	}
	op, special := operators[expr[0]]
	if special {
		expr = expr[1:]
	} else {
		op.class = segment
	}
	exploded := false
	for spec := range strings.SplitSeq(expr, ",") {
		ok, star := varspec(spec)
		if !ok {
			return false
		}
		exploded = exploded || star
	}
	if op.class != segment || exploded {
		p.open++
	}
	if op.first != 0 {
		p.states = append(p.states, state{lit: op.first, skip: 2})
	}
	p.states = append(p.states, state{class: op.class})
	return true
}

// varspec checks one variable of an expression (RFC 6570, 2.3 and 2.4).
func varspec(spec string) (ok, exploded bool) {
	name, exploded := strings.CutSuffix(spec, "*")
	if !exploded {
		var length string
		if name, length, ok = strings.Cut(name, ":"); ok {
			if length == "" || len(length) > 4 || strings.Trim(length, "0123456789") != "" || length[0] == '0' {
				return false, false
			}
		}
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '%':
		default:
			return false, false
		}
	}
	return name != "", exploded
}

// match says whether a URI, given as exactly makes it, could be one of the template's, and
// whether only a loose reading has it so. It takes what it costs off left, and finds no match
// where that is used up.
func (p *pattern) match(uri *pattern, left *int) (ok, loose bool) {
	if len(uri.text) > maxMatched || !strings.HasPrefix(uri.text, p.prefix) {
		return false, false
	}
	if meets(p, uri, false, left) {
		return true, false
	}
	return meets(p, uri, true, left), true
}

// overlaps says whether there could be a URI that both templates mean.
func (p *pattern) overlaps(q *pattern) bool {
	if !strings.HasPrefix(p.prefix, q.prefix) && !strings.HasPrefix(q.prefix, p.prefix) {
		return false
	}
	return meets(p, q, false, new(2*(len(p.states)+1)*(len(q.states)+1))) // whatever it takes
}

// moreSpecific orders the templates that mean the same URI: the one with more literal text comes
// first, then the one with fewer expressions that reach beyond a segment, then the one with fewer
// expressions.
func (p *pattern) moreSpecific(q *pattern) bool {
	switch {
	case p.literals != q.literals:
		return p.literals > q.literals
	case p.open != q.open:
		return p.open < q.open
	}
	return p.expressions < q.expressions
}

// meets says whether two patterns have a text in common. It walks both at the same time and sees
// each pair of places at most once, so its cost is bounded by the product of their lengths. It
// takes it off left, and finds no such text once that is below zero.
func meets(a, b *pattern, loose bool, left *int) bool {
	if *left < 0 {
		return false
	}
	width := len(b.states) + 1
	seen := make([]uint64, ((len(a.states)+1)*width+63)/64)
	*left -= len(seen)
	var todo [][2]int
	visit := func(i, j int) {
		if at := i*width + j; seen[at/64]&(1<<(at%64)) == 0 {
			seen[at/64] |= 1 << (at % 64)
			todo = append(todo, [2]int{i, j})
		}
	}
	visit(0, 0)
	for len(todo) > 0 {
		if *left--; *left < 0 {
			return false
		}
		i, j := todo[len(todo)-1][0], todo[len(todo)-1][1]
		todo = todo[:len(todo)-1]
		if i == len(a.states) && j == len(b.states) {
			return true
		}
		ni, nj := i, j
		if i < len(a.states) {
			ni = a.states[i].leave(i, func(to int) { visit(to, j) })
		}
		if j < len(b.states) {
			nj = b.states[j].leave(j, func(to int) { visit(i, to) })
		}
		if i < len(a.states) && j < len(b.states) && a.states[i].meets(&b.states[j], loose) {
			visit(ni, nj)
		}
	}
	return false
}

// leave names the places that are reached from state i without accepting anything, and returns
// the one that is reached by accepting.
func (s *state) leave(i int, visit func(int)) (next int) {
	if s.skip > 0 {
		visit(i + s.skip)
	}
	if s.class == one {
		return i + 1
	}
	visit(i + 1)
	return i
}

// meets says whether there is a character that both states accept. Any two classes share
// letters.
func (s *state) meets(t *state, loose bool) bool {
	switch {
	case s.class != one && t.class != one:
		return true
	case s.class != one:
		return s.class.has(t.lit, loose)
	case t.class != one:
		return t.class.has(s.lit, loose)
	}
	return s.lit == t.lit
}
