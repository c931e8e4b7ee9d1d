package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// httpClient is for everything that is not MCP. Each call is bounded.
var httpClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Get reads url and returns status and body.
func Get(ctx context.Context, url string) (int, []byte, error) {
	return Do(ctx, http.MethodGet, url, nil, nil)
}

// Do makes one HTTP request and returns status and body.
func Do(ctx context.Context, method, url string, header http.Header, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, b, err
}

// NodeRecord is a node as REST shows it; the guide's fields.
type NodeRecord struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Host          string   `json:"host"`
	Port          int      `json:"port"`
	URL           string   `json:"url"`
	Status        string   `json:"status"`
	LastHeartbeat int64    `json:"lastHeartbeat"`
	Servers       []string `json:"servers"`
}

// SessionRecord is a session as REST shows it.
type SessionRecord struct {
	SessionID    string `json:"sessionId"`
	NodeID       string `json:"nodeId"`
	ServerID     string `json:"serverId"`
	CreatedAt    int64  `json:"createdAt"`
	LastAccessed int64  `json:"lastAccessed"`
	ExpiresAt    int64  `json:"expiresAt"`
}

// API reads the data of a GET below /api/cluster into out, and insists on success.
func (h *Hub) API(path string, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, body, err := Get(ctx, h.URL+"/api/cluster"+path)
	if err != nil {
		return err
	}
	var env struct {
		Success bool            `json:"success"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &env); err != nil {
		return fmt.Errorf("GET %s: status %d: %w: %.200s", path, status, err, body)
	}
	if status != http.StatusOK || !env.Success {
		return fmt.Errorf("GET %s: status %d: %s", path, status, env.Message)
	}
	return json.Unmarshal(env.Data, out)
}

// ListNodes are all nodes that the coordinator knows.
func (h *Hub) ListNodes() ([]NodeRecord, error) {
	var out []NodeRecord
	err := h.API("/nodes", &out)
	return out, err
}

// Node is one node's record.
func (h *Hub) Node(id string) (NodeRecord, error) {
	nodes, err := h.ListNodes()
	if err != nil {
		return NodeRecord{}, err
	}
	for _, n := range nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return NodeRecord{}, fmt.Errorf("%d nodes and no %s", len(nodes), id)
}
