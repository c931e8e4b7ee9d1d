package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// fakeNode is a node with nothing behind it: it answers every call at once with the same
// result, so that what stands before it is all that is measured. With a coordinator it
// registers like any node (docs/architecture.md, "Between the processes"); without one it is
// the plain server that the other proxies are put in front of. It runs as a process of its own.
type fakeNode struct {
	id, instance, secret, url string

	epoch    atomic.Int64
	sessions atomic.Int64
}

// fakeServer is the name of the server that the fake node says it runs.
const fakeServer = "echo"

// fakeBeat is the time between its heartbeats.
const fakeBeat = time.Second

// serveFakeNode serves on addr until the process ends. coordinator may be empty.
func serveFakeNode(addr, coordinator, secret string) error {
	var random [16]byte
	_, _ = rand.Read(random[:])
	n := &fakeNode{id: "fake-node", instance: hex.EncodeToString(random[:]), secret: secret, url: "http://" + addr}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mcp/"+fakeServer, n.mcp)
	mux.HandleFunc("POST /api/node/challenge", n.challenge)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"status":"ok","id":%q}`, n.id) })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if coordinator != "" {
		go n.beat(coordinator)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return srv.Serve(l)
}

// beat registers and then keeps the lease, for as long as the process lives.
func (n *fakeNode) beat(coordinator string) {
	for path := "/api/cluster/register"; ; time.Sleep(fakeBeat) {
		epoch, err := n.report(coordinator + path)
		if err != nil {
			fmt.Println("fake node:", err)
			continue
		}
		n.epoch.Store(epoch)
		path = "/api/cluster/heartbeat"
	}
}

// report sends the record and returns the epoch granted.
func (n *fakeNode) report(url string) (int64, error) {
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(n.url, "http://"))
	num, _ := strconv.Atoi(port)
	record := map[string]any{
		"id": n.id, "name": n.id, "host": host, "port": num, "url": n.url,
		"servers": []string{fakeServer}, "instance": n.instance, "version": "bench",
		"serverDetails": []map[string]any{{"id": fakeServer, "status": "ready", "transport": "builtin", "tools": 1, "weight": 1}},
	}
	if e := n.epoch.Load(); e > 0 {
		record["epoch"] = e
	}
	body, err := json.Marshal(record)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+n.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	var grant struct {
		Data struct{ Epoch int64 }
	}
	if err := json.Unmarshal(raw, &grant); err != nil || grant.Data.Epoch == 0 {
		return 0, fmt.Errorf("%s: status %d: %s", url, resp.StatusCode, raw)
	}
	return grant.Data.Epoch, nil
}

// challenge proves to a coordinator that this is the process that registered.
func (n *fakeNode) challenge(w http.ResponseWriter, r *http.Request) {
	var ask struct{ Nonce, ID string }
	if err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h := hmac.New(sha256.New, []byte(n.secret))
	fmt.Fprintf(h, "mcphub-challenge-v1\n%s\n%s\n%s", ask.Nonce, n.id, n.instance)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":%q,"instance":%q,"mac":%q}`, n.id, n.instance, hex.EncodeToString(h.Sum(nil)))
}

// mcp answers initialize, accepts notifications, and echoes a fixed text for everything else.
func (n *fakeNode) mcp(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	switch {
	case bytes.Contains(body, []byte(`"method":"initialize"`)):
		id := r.Header.Get("Mcp-Session-Id")
		if id == "" {
			id = "s" + strconv.FormatInt(n.sessions.Load()+1, 10)
		}
		w.Header().Set("Mcp-Session-Id", id)
		w.Header().Set("X-MCPHub-Sessions", strconv.FormatInt(n.sessions.Add(1), 10))
		answer(w, body, `{"protocolVersion":"`+protocolVersion+`","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}`)
	case bytes.Contains(body, []byte(`"method":"notifications/`)):
		w.WriteHeader(http.StatusAccepted)
	default:
		answer(w, body, fakeResult)
	}
}

var fakeResult = `{"content":[{"type":"text","text":"` + strings.Repeat("x", 100) + `"}]}`

// answer writes a result for the id found in the request, which the generator wrote.
func answer(w http.ResponseWriter, request []byte, result string) {
	_, rest, _ := bytes.Cut(request, []byte(`"id":`))
	id, _, _ := bytes.Cut(rest, []byte(`,`))
	out := make([]byte, 0, 256)
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(append(out, id...), `,"result":`...)
	out = append(append(out, result...), '}')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	_, _ = w.Write(out)
}
