package router

import "context"

// Revision is the protocol revision that the session of a request has negotiated; empty where this
// coordinator does not know it. Its errors are those that Carry has for the session.
func (r *Router) Revision(ctx context.Context, req Request) (string, error) {
	if req.SessionID == "" {
		return "", missingSession(nil)
	}
	s, err := r.session(ctx, &req)
	if err != nil {
		return "", err
	}
	_, era, _ := s.origin()
	return era, nil
}
