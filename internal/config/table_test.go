package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// examples has, for each option that is read, a file with %s in the option's place and a
// value that is not the default.
var examples = map[string]struct{ file, value string }{
	"mcpServers.*.command":                                  {`{"mcpServers": {"s": {%s}}}`, `"x"`},
	"mcpServers.*.args":                                     {`{"mcpServers": {"s": {"command": "x", %s}}}`, `["a"]`},
	"mcpServers.*.env":                                      {`{"mcpServers": {"s": {"command": "x", %s}}}`, `{"A": "b"}`},
	"mcpServers.*.url":                                      {`{"mcpServers": {"s": {%s}}}`, `"http://h"`},
	"mcpServers.*.headers":                                  {`{"mcpServers": {"s": {"url": "http://h", %s}}}`, `{"A": "b"}`},
	"mcpServers.*.type":                                     {`{"mcpServers": {"s": {"url": "http://h", %s}}}`, `"stdio"`},
	"mcpServers.*.enabled":                                  {`{"mcpServers": {"s": {"command": "x", %s}}}`, `false`},
	"systemConfig.nameSeparator":                            {`{"systemConfig": {%s}}`, `"__"`},
	"systemConfig.cluster.enabled":                          {`{"systemConfig": {"cluster": {%s}}}`, `true`},
	"systemConfig.cluster.mode":                             {`{"systemConfig": {"cluster": {"enabled": true, %s}}}`, `"coordinator"`},
	"systemConfig.cluster.secret":                           {`{"systemConfig": {"cluster": {%s}}}`, `"0123456789abcdef"`},
	"systemConfig.cluster.adminToken":                       {`{"systemConfig": {"cluster": {%s}}}`, `"0123456789abcdef"`},
	"systemConfig.cluster.redis.url":                        {`{"systemConfig": {"cluster": {"redis": {%s}}}}`, `"redis://h"`},
	"systemConfig.cluster.redis.keyPrefix":                  {`{"systemConfig": {"cluster": {"redis": {%s}}}}`, `"other"`},
	"systemConfig.cluster.coordinator.nodeTimeout":          {`{"systemConfig": {"cluster": {"coordinator": {%s}}}}`, `20000`},
	"systemConfig.cluster.coordinator.cleanupInterval":      {`{"systemConfig": {"cluster": {"coordinator": {%s}}}}`, `20000`},
	"systemConfig.cluster.coordinator.stickySessionTimeout": {`{"systemConfig": {"cluster": {"coordinator": {%s}}}}`, `20000`},
	"systemConfig.cluster.stickySession.enabled":            {`{"systemConfig": {"cluster": {"stickySession": {%s}}}}`, `false`},
	"systemConfig.cluster.stickySession.strategy":           {`{"systemConfig": {"cluster": {"stickySession": {%s}}}}`, `"header"`},
	"systemConfig.cluster.stickySession.cookieName":         {`{"systemConfig": {"cluster": {"stickySession": {%s}}}}`, `"OTHER"`},
	"systemConfig.cluster.stickySession.headerName":         {`{"systemConfig": {"cluster": {"stickySession": {%s}}}}`, `"X-Other"`},
	"systemConfig.cluster.node.id":                          {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `"n1"`},
	"systemConfig.cluster.node.name":                        {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `"One"`},
	"systemConfig.cluster.node.url":                         {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `"http://h"`},
	"systemConfig.cluster.node.coordinatorUrl":              {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `"http://h"`},
	"systemConfig.cluster.node.heartbeatInterval":           {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `1000`},
	"systemConfig.cluster.node.registerOnStartup":           {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `false`},
	"systemConfig.routing.enableGlobalRoute":                {`{"systemConfig": {"routing": {%s}}}`, `false`},
	"systemConfig.routing.enableGroupNameRoute":             {`{"systemConfig": {"routing": {%s}}}`, `false`},
	"systemConfig.routing.enableBearerAuth":                 {`{"systemConfig": {"routing": {"bearerAuthKey": "0123456789abcdef", %s}}}`, `true`},
	"systemConfig.routing.bearerAuthKey":                    {`{"systemConfig": {"routing": {%s}}}`, `"0123456789abcdef"`},
	"systemConfig.routing.allowedHosts":                     {`{"systemConfig": {"routing": {%s}}}`, `["h"]`},
	"systemConfig.routing.allowedOrigins":                   {`{"systemConfig": {"routing": {%s}}}`, `["http://h"]`},
	"mcpServers.*.startTimeout":                             {`{"mcpServers": {"s": {"command": "x", %s}}}`, `1000`},
	"mcpServers.*.callTimeout":                              {`{"mcpServers": {"s": {"command": "x", %s}}}`, `1000`},
	"mcpServers.*.roots":                                    {`{"mcpServers": {"s": {"command": "x", %s}}}`, `false`},
	"mcpServers.*.weight":                                   {`{"mcpServers": {"s": {"command": "x", %s}}}`, `100`},
	"mcpServers.*.isolation":                                {`{"mcpServers": {"s": {"command": "x", %s}}}`, `"session"`},
	"mcpServers.*.perSessionClient":                         {`{"mcpServers": {"s": {"command": "x", %s}}}`, `true`},
	"mcpServers.*.maxProcesses":                             {`{"mcpServers": {"s": {"command": "x", "isolation": "session", %s}}}`, `1`},
	"mcpServers.*.warm":                                     {`{"mcpServers": {"s": {"command": "x", "isolation": "session", %s}}}`, `16`},
	"mcpServers.*.idleTimeoutMs":                            {`{"mcpServers": {"s": {"command": "x", "isolation": "session", %s}}}`, `0`},
	"systemConfig.cluster.coordinator.drainTimeout":         {`{"systemConfig": {"cluster": {"coordinator": {%s}}}}`, `20000`},
	"systemConfig.cluster.node.weight":                      {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `3`},
	"systemConfig.cluster.node.drainTimeout":                {`{"systemConfig": {"cluster": {"node": {%s}}}}`, `20000`},
	"systemConfig.limits.maxBody":                           {`{"systemConfig": {"limits": {%s}}}`, `1024`},
	"systemConfig.limits.headerTimeout":                     {`{"systemConfig": {"limits": {%s}}}`, `20000`},
	"systemConfig.limits.bodyTimeout":                       {`{"systemConfig": {"limits": {%s}}}`, `20000`},
	"systemConfig.limits.idleTimeout":                       {`{"systemConfig": {"limits": {%s}}}`, `20000`},
	"systemConfig.limits.maxBatch":                          {`{"systemConfig": {"limits": {%s}}}`, `10`},
	"systemConfig.limits.maxStreamsPerSession":              {`{"systemConfig": {"limits": {%s}}}`, `9`},
	"systemConfig.limits.maxStreamsPerKey":                  {`{"systemConfig": {"limits": {%s}}}`, `9`},
	"systemConfig.limits.maxSessionsPerKey":                 {`{"systemConfig": {"limits": {%s}}}`, `0`},
	"systemConfig.limits.maxStreams":                        {`{"systemConfig": {"limits": {%s}}}`, `9`},
	"systemConfig.cluster.node.streams.logBytes":            {`{"systemConfig": {"cluster": {"node": {"streams": {%s}}}}}`, `5000`},
	"systemConfig.cluster.node.streams.logAgeMs":            {`{"systemConfig": {"cluster": {"node": {"streams": {%s}}}}}`, `20000`},
	"systemConfig.cluster.node.streams.maxPerSession":       {`{"systemConfig": {"cluster": {"node": {"streams": {%s}}}}}`, `9`},
	"systemConfig.cluster.node.streams.maxParked":           {`{"systemConfig": {"cluster": {"node": {"streams": {%s}}}}}`, `9`},
	"systemConfig.routing.sseEndpoint":                      {`{"systemConfig": {"routing": {%s}}}`, `"absolute"`},
	"systemConfig.tracing.endpoint":                         {`{"systemConfig": {"tracing": {%s}}}`, `"http://localhost:4318"`},
	"systemConfig.tracing.headers":                          {`{"systemConfig": {"tracing": {"endpoint": "http://h", %s}}}`, `{"Authorization": "x"}`},
	"systemConfig.tracing.sampleRatio":                      {`{"systemConfig": {"tracing": {"endpoint": "http://h", %s}}}`, `0.25`},
	"groups[].name":                                         {`{"groups": [{%s}]}`, `"g"`},
	"groups[].id":                                           {`{"groups": [{"name": "g", %s}]}`, `"0b1c"`},
	"groups[].description":                                  {`{"groups": [{"name": "g", %s}]}`, `"A note."`},
	"groups[].servers[].name":                               {`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{%s}]}]}`, `"s"`},
	"groups[].servers[].tools":                              {`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", %s}]}]}`, `["read"]`},
	"bearerKeys[].name":                                     {`{"bearerKeys": [{"token": "0123456789abcdef", %s}]}`, `"k"`},
	"bearerKeys[].id":                                       {`{"bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `"0b1c"`},
	"bearerKeys[].token":                                    {`{"bearerKeys": [{"name": "k", %s}]}`, `"0123456789abcdef"`},
	"bearerKeys[].enabled":                                  {`{"bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `false`},
	"bearerKeys[].accessType":                               {`{"bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `"custom"`},
	"bearerKeys[].allowedGroups":                            {`{"groups": [{"name": "g"}], "bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `["g"]`},
	"bearerKeys[].allowedServers":                           {`{"mcpServers": {"s": {"command": "x"}}, "bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `["s"]`},
	"users[].username":                                      {`{"users": [{"password": "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa.", %s}]}`, `"a"`},
	"users[].password":                                      {`{"users": [{"username": "a", %s}]}`, `"$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa."`},
	"users[].isAdmin":                                       {`{"users": [` + strings.TrimSuffix(user("a"), "}") + `, %s}]}`, `true`},
}

// agreements has, for each option with one value that is accepted because it holds anyway, a
// file with %s in the option's place, that value, and one that is refused.
var agreements = map[string]struct{ file, accepted, refused string }{
	"mcpServers.*.startOnDemand":                {`{"mcpServers": {"s": {"command": "x", %s}}}`, `false`, `true`},
	"mcpServers.*.visibility":                   {`{"mcpServers": {"s": {"command": "x", %s}}}`, `"public"`, `"private"`},
	"systemConfig.routing.bearerAuthHeaderName": {`{"systemConfig": {"routing": {%s}}}`, `"Authorization"`, `"X-Key"`},
	"systemConfig.routing.skipAuth":             {`{"systemConfig": {"routing": {%s}}}`, `false`, `true`},
	"groups[].servers[].prompts":                {groupOf, `"all"`, `["p"]`},
	"groups[].servers[].resources":              {groupOf, `"all"`, `["r"]`},
	"groups[].visibility":                       {`{"groups": [{"name": "g", %s}]}`, `"public"`, `"private"`},
	"bearerKeys[].kind":                         {`{"bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`, `"system"`, `"user"`},
}

const groupOf = `{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", %s}]}]}`

// unusedKeys has a file for each option that is accepted and named in a warning.
var unusedKeys = map[string]string{
	"mcpServers.*.description":     `{"mcpServers": {"s": {"command": "x", %s}}}`,
	"mcpServers.*.owner":           `{"mcpServers": {"s": {"command": "x", %s}}}`,
	"mcpServers.*.sharedWithUsers": `{"mcpServers": {"s": {"command": "x", %s}}}`,
	"groups[].owner":               `{"groups": [{"name": "g", %s}]}`,
	"groups[].sharedWithUsers":     `{"groups": [{"name": "g", %s}]}`,
	"bearerKeys[].owner":           `{"bearerKeys": [{"name": "k", "token": "0123456789abcdef", %s}]}`,
	"users[].email":                `{"users": [` + strings.TrimSuffix(user("a"), "}") + `, %s}]}`,
	"users[].ssoUserId":            `{"users": [` + strings.TrimSuffix(user("a"), "}") + `, %s}]}`,
}

// option puts a key and its value into a file.
func option(file, name, value string) string {
	return strings.Replace(file, "%s", `"`+name+`": `+value, 1)
}

// without takes the place of the key out of a file.
func without(file string) string {
	return strings.Replace(strings.Replace(file, ", %s", "", 1), "%s", "", 1)
}

// leaves are the rows that are options and not sections.
func leaves() []*key {
	var ks []*key
	root.all(func(k *key) {
		if k.children == nil {
			ks = append(ks, k)
		}
	})
	return ks
}

// outcome is all that a file leads to.
func outcome(file string) (all map[string]string, err error) {
	s, err := Parse("f.json", []byte(file), env())
	if err != nil {
		return map[string]string{"error": err.Error()}, err
	}
	all = fields("", reflect.ValueOf(*s))
	return all, nil
}

// TestEveryOptionIsReadOrRefused walks the table: an option changes the settings, or is
// refused; none is accepted and forgotten.
func TestEveryOptionIsReadOrRefused(t *testing.T) {
	for _, k := range leaves() {
		switch {
		case k.path == "$schema": // belongs to the editor
		case k.later != "":
			refusedAsLater(t, k)
		case k.unused:
			warnsOfUnused(t, k)
		case agreements[k.path].file != "":
			agrees(t, k)
		case k.read == nil:
			t.Errorf("%s is neither read nor refused", k.path)
		default:
			changes(t, k)
		}
	}
	for path := range examples {
		if !slices.ContainsFunc(leaves(), func(k *key) bool { return k.path == path && k.read != nil }) {
			t.Errorf("examples: there is no option %s", path)
		}
	}
}

func changes(t *testing.T, k *key) {
	t.Helper()
	example, ok := examples[k.path]
	if !ok {
		t.Errorf("%s has no example in this test", k.path)
		return
	}
	with := option(example.file, k.name, example.value)
	got, err := outcome(with)
	before, _ := outcome(without(example.file))
	if maps.Equal(got, before) {
		t.Errorf("%s: %s means the same as %s", k.path, with, without(example.file))
	}
	_, later := k.laterValues[example.value]
	if refused := err != nil && strings.Contains(err.Error(), "not yet supported"); refused != later {
		t.Errorf("%s: %s: %v; refused as not yet supported: %v, want %v", k.path, with, err, refused, later)
	}
	if err != nil && !later && k.path != "mcpServers.*.type" {
		t.Errorf("%s: %v", with, err)
	}
}

// agrees holds that the one value changes nothing, not even a warning, and another is refused.
func agrees(t *testing.T, k *key) {
	t.Helper()
	a := agreements[k.path]
	got, err := outcome(option(a.file, k.name, a.accepted))
	before, _ := outcome(without(a.file))
	if err != nil || !maps.Equal(got, before) {
		t.Errorf("%s: %s: %v, %v; want %v", k.path, a.accepted, got, err, before)
	}
	if _, err := outcome(option(a.file, k.name, a.refused)); err == nil || !strings.Contains(err.Error(), k.name+": ") {
		t.Errorf("%s: %s: %v; want it refused", k.path, a.refused, err)
	}
}

// warnsOfUnused holds that the key is named in a warning, whatever its value, and does nothing else.
func warnsOfUnused(t *testing.T, k *key) {
	t.Helper()
	for _, value := range []string{`"x"`, `null`, `["x"]`} {
		s, err := Parse("f.json", []byte(option(unusedKeys[k.path], k.name, value)), env())
		if err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "not used by this MCPHub, and ignored: ") || !strings.HasSuffix(s.Warnings[0], "."+k.name) {
			t.Errorf("%s: %s: %+v, %v; want one warning that names it", k.path, value, s, err)
		}
	}
}

func refusedAsLater(t *testing.T, k *key) {
	t.Helper()
	option := `"` + k.name + `": 1`
	file := map[string]string{
		"mcpServers.*":         `{"mcpServers": {"s": {"command": "x", ` + option + `}}}`,
		"systemConfig.routing": `{"systemConfig": {"routing": {` + option + `}}}`,
		"groups[].servers[]":   strings.Replace(groupOf, "%s", option, 1),
	}[parentPath(k)]
	_, err := Parse("f.json", []byte(file), env())
	if err == nil || !strings.Contains(err.Error(), "known, but not yet supported: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %s: %v; want one problem, not yet supported", k.path, file, err)
	}
}

func parentPath(k *key) string {
	parent, _ := splitPath(k.path)
	return parent
}

// TestTableIsComplete holds what the documents need of every row.
func TestTableIsComplete(t *testing.T) {
	root.all(func(k *key) {
		if k.path == "" {
			return
		}
		if k.doc == "" || !strings.HasSuffix(k.doc, ".") {
			t.Errorf("%s: doc %q is not a sentence", k.path, k.doc)
		}
		if strings.ContainsAny(k.doc, "\n|") {
			t.Errorf("%s: doc does not fit into a table", k.path)
		}
		if k.pattern != "" && k.check == nil {
			t.Errorf("%s: the schema has a pattern that the parser does not check", k.path)
		}
		if k.def != "" && k.read != nil {
			k.defaultValue() // panics if it is not of the row's type
		}
	})
}

// TestPatterns holds the schema's patterns against the checks, which are written apart.
func TestPatterns(t *testing.T) {
	words := []string{"a", "A-1", "-a", ".a", "a b", "a/b", "a:b", "", "é", strings.Repeat("a", 63), strings.Repeat("a", 64),
		"http://h", "HTTP://h/p", "http://h?q", "http://h#f", "ftp://h", "redis://h", "rediss://h", "a\tb", "h:80", "*", "null"}
	name := regexp.MustCompile(namePattern)
	for _, w := range words {
		if got, want := name.MatchString(w), wire.CheckName("name", w) == nil; got != want {
			t.Errorf("namePattern accepts %q: %v, wire.CheckName: %v", w, got, want)
		}
	}
	for _, k := range leaves() {
		if k.pattern == "" {
			continue
		}
		re := regexp.MustCompile(k.pattern)
		for _, w := range words {
			if k.check(w) == nil && !re.MatchString(w) {
				t.Errorf("%s: %q is accepted, but not by the schema", k.path, w)
			}
		}
	}
}
