package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"
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

// Page is the status page. It is an http.Handler for "/", "/fragment" (the part that
// changes), "/favicon.ico" and "/static/"; safe for concurrent use.
type Page struct {
	cfg    Config
	reader Reader
	log    *slog.Logger
	now    func() time.Time
	tmpl   *template.Template
	assets assets
	mux    *http.ServeMux

	mu   sync.Mutex // guards last, and lets one request at a time look
	last look
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
		tmpl: template.Must(template.ParseFS(templateFS, "templates/*.html")),
		mux:  http.NewServeMux(),
	}
	p.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "there is nothing at this path; the status page is at /, MCP at /mcp", http.StatusNotFound)
	})
	p.mux.HandleFunc("/{$}", p.servePage)
	p.mux.HandleFunc("/fragment", p.serveFragment)
	p.mux.Handle("/static/", files)
	p.mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, files.url("favicon.svg"), http.StatusFound)
	})
	return p
}

// Paths are the patterns, in the form of http.ServeMux, that a server should hand to the page.
func Paths() []string { return []string{"/{$}", "/fragment", "/favicon.ico", "/static/"} }

// policy is the Content-Security-Policy of every answer: nothing from elsewhere, nothing
// inline, in nobody's frame.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP serves the page to whoever was let through. Other methods than GET and HEAD are
// answered 405, other paths 404.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page can only be read", http.StatusMethodNotAllowed)
		return
	}
	p.mux.ServeHTTP(w, r)
}

func (p *Page) servePage(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, "page.html", pageView{
		Version: p.cfg.Version, CoordinatorID: p.cfg.CoordinatorID, Mode: p.cfg.Mode,
		CSS: p.assets.url("app.css"), JS: p.assets.url("app.js"), Icon: p.assets.url("favicon.svg"),
		Live: newLiveView(p.look(r.Context())),
	})
}

func (p *Page) serveFragment(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, "live", newLiveView(p.look(r.Context())))
}

// render writes nothing unless the whole template went through.
func (p *Page) render(w http.ResponseWriter, r *http.Request, name string, view any) {
	var buf bytes.Buffer
	if err := p.tmpl.ExecuteTemplate(&buf, name, view); err != nil {
		p.log.ErrorContext(r.Context(), "status page not rendered", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", fmt.Sprint(buf.Len()))
	_, _ = w.Write(buf.Bytes()) // the browser is gone: nobody to tell
}

// look reads the fleet, or gives the last reading while it is younger than MaxAge. The
// reading is shared, so it does not end with the request that happened to start it.
func (p *Page) look(ctx context.Context) look {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.last.at.IsZero() && now.Sub(p.last.at) < p.cfg.MaxAge {
		return p.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReadTimeout)
	defer cancel()
	l := look{at: now, redis: p.reader.Redis()}
	l.sessions, l.sessTotal, l.sessionsErr = p.reader.Sessions(ctx, sessionsRead)
	l.events, l.eventsErr = p.reader.Events(ctx, eventsShown)
	l.snapshot, l.fresh = p.reader.Snapshot(), now // last, so that its clock is not behind the others'
	if l.snapshot == p.last.snapshot {
		l.fresh = p.last.fresh
	}
	p.last = l
	return l
}
