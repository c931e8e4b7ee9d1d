package node

import "slices"

// owners tells which session an id belongs to that a server or a client has made up. Each session
// keeps its latest ones. It is not safe for concurrent use.
type owners struct {
	most int // ids of one session
	of   map[string]owner
	by   map[*session][]string // the oldest first
}

// owner is whose an id is.
type owner struct {
	ses    *session // nil where several sessions have it, so that it tells nothing
	claims int
}

// claim notes that an id is a session's.
func (o *owners) claim(id string, ses *session) {
	if slices.Contains(o.by[ses], id) {
		return
	}
	if o.of == nil {
		o.of, o.by = map[string]owner{}, map[*session][]string{}
	}
	if ids := o.by[ses]; len(ids) >= o.most {
		o.unclaim(ids[0])
		o.by[ses] = slices.Delete(ids, 0, 1)
	}
	o.by[ses] = append(o.by[ses], id)
	now := owner{ses: ses, claims: o.of[id].claims + 1}
	if now.claims > 1 {
		now.ses = nil
	}
	o.of[id] = now
}

// owner is whose an id is; known says that it is somebody's, if only not for certain whose.
func (o *owners) owner(id string) (ses *session, known bool) {
	is, known := o.of[id]
	return is.ses, known
}

// leave forgets a session's ids.
func (o *owners) leave(ses *session) {
	for _, id := range o.by[ses] {
		o.unclaim(id)
	}
	delete(o.by, ses)
}

func (o *owners) unclaim(id string) {
	is := o.of[id]
	if is.claims--; is.claims > 0 {
		o.of[id] = is
	} else {
		delete(o.of, id)
	}
}
