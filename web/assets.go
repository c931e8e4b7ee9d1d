package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static
var staticFS embed.FS

// assetTypes are spelled here because the machine's own MIME table must not decide.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

type asset struct {
	body []byte
	kind string
	etag string // quoted
}

// assets are the embedded files by name. Never changed once loaded.
type assets map[string]asset

// loadAssets reads every embedded file; an error means that the build is broken.
func loadAssets() (assets, error) {
	out := assets{}
	entries, err := fs.ReadDir(staticFS, "static")
	if err != nil {
		return nil, fmt.Errorf("embedded assets: %w", err)
	}
	for _, e := range entries {
		body, err := staticFS.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("embedded asset %s: %w", e.Name(), err)
		}
		kind, ok := assetTypes[path.Ext(e.Name())]
		if !ok {
			return nil, fmt.Errorf("embedded asset %s has no known type", e.Name())
		}
		sum := sha256.Sum256(body)
		out[e.Name()] = asset{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return out, nil
}

// url is the relative address of an asset; it changes with the content, so that a browser
// may keep it forever.
func (a assets) url(name string) string {
	return "static/" + name + "?v=" + strings.Trim(a[name].etag, `"`)
}

// ServeHTTP answers /static/<name>. Asked for by its digest, a file may be kept for a year;
// without one it must be asked for again, which the ETag makes cheap.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := a[strings.TrimPrefix(r.URL.Path, "/static/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	if `"`+r.URL.Query().Get("v")+`"` == f.etag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
