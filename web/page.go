package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

//go:embed templates
var templateFS embed.FS

// Config is what the page says of the coordinator that serves it.
type Config struct {
	Version       string
	CoordinatorID string
	Mode          string // standalone, coordinator, demo
	// MaxAge is how long one look at the fleet serves every browser. Zero means 1s.
	MaxAge time.Duration
}

// Page is the status page. It is an http.Handler for "/", "/server", "/sessions", "/explain", what
// their script asks for ("/fragment", "/catalog"), "/favicon.ico" and "/static/"; safe for
// concurrent use.
type Page struct {
	cfg      Config
	reader   Reader
	log      *slog.Logger
	now      func() time.Time
	tmpl     *template.Template
	assets   assets
	mux      *http.ServeMux
	catalogs catalogs

	mu   sync.Mutex // guards last, and lets one request at a time look
	last look

	rendering sync.Mutex // guards live, and lets one request at a time render it
	live      []byte     // the changing part of the first page
	liveAt    time.Time  // of the look that it shows
}

// New makes the page. It asks nothing of reader yet. It panics if the embedded files are
// broken, which no running build can be.
func New(cfg Config, reader Reader, log *slog.Logger) *Page {
	files, err := loadAssets()
	if err != nil {
		panic(err)
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = time.Second
	}
	p := &Page{
		cfg: cfg, reader: reader, log: log, now: time.Now, assets: files,
		tmpl:     template.Must(template.ParseFS(templateFS, "templates/*.html")),
		mux:      http.NewServeMux(),
		catalogs: catalogs{read: reader.Catalog},
	}
	for pattern, h := range map[string]http.HandlerFunc{
		"/": func(w http.ResponseWriter, r *http.Request) {
			p.renderFailure(w, r, http.StatusNotFound, "There is nothing at this path. MCP is served at /mcp.")
		},
		"/{$}": p.serveOverview, "/fragment": p.serveOverview, "/server": p.serveServer, "/catalog": p.serveCatalog,
		"/sessions": p.serveSessions, "/explain": p.serveExplain, "/static/": files.ServeHTTP,
		"/favicon.ico": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, files.url("favicon.svg"), http.StatusFound)
		},
	} {
		p.mux.HandleFunc(pattern, h)
	}
	return p
}

// policy is the Content-Security-Policy of every answer: nothing from elsewhere, nothing
// inline, in nobody's frame. Pages with a form may send it back here.
const (
	policy     = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action "
	formNone   = policy + "'none'"
	formToSelf = policy + "'self'"
)

// ServeHTTP serves the page to whoever was let through. Other methods than GET and HEAD are
// answered 405, other paths 404.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", formNone)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page can only be read", http.StatusMethodNotAllowed)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// pageView is what stands around the content of every page.
type pageView struct {
	Title, Here                  string // Here is the place in the navigation
	Version, CoordinatorID, Mode string
	CSS, JS, Icon                string // addresses of the assets, with their digests
	Source                       string // where the script gets the live part from; empty for none
	Every                        int    // milliseconds between two looks at it
	Reload                       bool   // browsers without a script load the page anew
	Body                         any
}

// page fills in what is the same everywhere.
func (p *Page) page(title, here string) pageView {
	return pageView{
		Title: title, Here: here, Version: p.cfg.Version, CoordinatorID: p.cfg.CoordinatorID, Mode: p.cfg.Mode,
		CSS: p.assets.url("app.css"), JS: p.assets.url("app.js"), Icon: p.assets.url("favicon.svg"),
	}
}

// The times between two looks of the script.
const (
	everyFast = 2000
	everySlow = 5000
)

// overviewPage is the first page.
type overviewPage struct {
	Live template.HTML // rendered before
	Form formView
}

// serveOverview serves the first page, or the part of it that changes.
func (p *Page) serveOverview(w http.ResponseWriter, r *http.Request) {
	l := p.look(r.Context())
	live, err := p.renderLive(&l)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	if r.URL.Path == "/fragment" {
		send(w, http.StatusOK, live)
		return
	}
	w.Header().Set("Content-Security-Policy", formToSelf)
	v := p.page("", "overview")
	v.Source, v.Every, v.Reload = "fragment", everyFast, true
	v.Body = overviewPage{template.HTML(live), newFormView(&l)} //nolint:gosec // it has been through the templates
	p.render(w, r, http.StatusOK, "overview.html", v)
}

// renderLive renders the part of the first page that changes, once for each look: however many
// browsers are open, a large fleet is worded once a second.
func (p *Page) renderLive(l *look) ([]byte, error) {
	p.rendering.Lock()
	defer p.rendering.Unlock()
	if p.live != nil && p.liveAt.Equal(l.at) {
		return p.live, nil
	}
	var buf bytes.Buffer
	if err := p.tmpl.ExecuteTemplate(&buf, "live", newLiveView(l, p.cfg)); err != nil {
		return nil, err
	}
	p.live, p.liveAt = buf.Bytes(), l.at
	return p.live, nil
}

// serverPage is one server.
type serverPage struct {
	Server  serverView
	Catalog *catalogPart // nil where the script has it already
}

// serveServer serves the page of one server, with its catalog, or the part of it that changes.
func (p *Page) serveServer(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	l := p.look(r.Context())
	var body serverPage
	for _, s := range newServerViews(l.nodes()) {
		if s.ID == name {
			body.Server = s
		}
	}
	if body.Server.ID == "" {
		p.renderFailure(w, r, http.StatusNotFound, "No node has a server of that name.")
		return
	}
	if r.URL.Query().Has("part") {
		p.render(w, r, http.StatusOK, "server-live", body)
		return
	}
	if c := body.Server.Catalogs; len(c) > 0 {
		body.Catalog, _ = p.catalogPart(r, c[0].Digest)
	}
	v := p.page(name, "servers")
	v.Source, v.Every, v.Reload = "server?part&name="+url.QueryEscape(name), everyFast, true
	v.Body = body
	p.render(w, r, http.StatusOK, "server.html", v)
}

// catalogPart is a catalog, or why it is not there.
type catalogPart struct {
	catalogView
	Err string
}

// catalogPart reads a catalog. The status is that of an answer that holds nothing else.
func (p *Page) catalogPart(r *http.Request, digest string) (part *catalogPart, status int) {
	v, err := p.catalogs.view(r.Context(), store.Digest(digest))
	v.Digest = digest
	switch {
	case err == nil:
		return &catalogPart{catalogView: v}, http.StatusOK
	case errors.Is(err, store.ErrNotFound):
		return &catalogPart{v, "it is not in Redis; the nodes send it again with their heartbeats"}, http.StatusNotFound
	default:
		return &catalogPart{v, err.Error()}, http.StatusServiceUnavailable
	}
}

// serveCatalog serves what a server offers, for the script to put in place.
func (p *Page) serveCatalog(w http.ResponseWriter, r *http.Request) {
	part, status := p.catalogPart(r, r.URL.Query().Get("digest"))
	p.render(w, r, status, "catalog", part)
}

// failureView is a page that says why there is no other.
type failureView struct{ Text string }

func (p *Page) renderFailure(w http.ResponseWriter, r *http.Request, status int, text string) {
	v := p.page(http.StatusText(status), "")
	v.Body = failureView{text}
	p.render(w, r, status, "failure.html", v)
}

// render writes nothing unless the whole template went through.
func (p *Page) render(w http.ResponseWriter, r *http.Request, status int, name string, view any) {
	var buf bytes.Buffer
	if err := p.tmpl.ExecuteTemplate(&buf, name, view); err != nil {
		p.failed(w, r, err)
		return
	}
	send(w, status, buf.Bytes())
}

func (p *Page) failed(w http.ResponseWriter, r *http.Request, err error) {
	p.log.ErrorContext(r.Context(), "status page not rendered", "err", err)
	http.Error(w, "internal error", http.StatusInternalServerError)
}

func send(w http.ResponseWriter, status int, html []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", fmt.Sprint(len(html)))
	w.WriteHeader(status)
	_, _ = w.Write(html) // the browser is gone: nobody to tell
}
