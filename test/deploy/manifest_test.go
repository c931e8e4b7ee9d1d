package deploy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// object is one manifest, decoded.
type object map[string]any

func (o object) kind() string { s, _ := o["kind"].(string); return s }
func (o object) name() string { s, _ := at(o, "metadata", "name").(string); return s }
func (o object) String() string {
	return o.kind() + "/" + o.name()
}

// at walks down maps; nil where the way ends.
func at(v any, path ...string) any {
	for _, key := range path {
		switch m := v.(type) {
		case object:
			v = m[key]
		case map[string]any:
			v = m[key]
		default:
			return nil
		}
	}
	return v
}

func items(v any) []any { list, _ := v.([]any); return list }

func text(v any) string { s, _ := v.(string); return s }

func dict(v any) map[string]any { m, _ := v.(map[string]any); return m }

// decode reads a stream of manifests.
func decode(t *testing.T, stream string) []object {
	t.Helper()
	var list []object
	d := yaml.NewDecoder(strings.NewReader(stream))
	for {
		var o map[string]any // a named type would become that of the maps in it, too
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, stream)
		}
		if len(o) > 0 {
			list = append(list, o)
		}
	}
}

// checkManifests is what every rendering has to stand: the schemas, and what no schema knows.
func checkManifests(t *testing.T, stream string) []object {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(stream), 0o600); err != nil {
		t.Fatal(err)
	}
	schemas := "schemas/{{.ResourceKind}}{{.KindSuffix}}.json"
	if o := run(t, ".", nil, program(t, "kubeconform"), "-strict", "-schema-location", schemas, file); o.err != nil {
		t.Errorf("kubeconform: %v\n%s%s", o.err, o.stdout, o.stderr)
	}
	list := decode(t, stream)
	seen := map[string]bool{}
	for _, o := range list {
		if seen[o.String()] {
			t.Errorf("there are two of %s", o)
		}
		seen[o.String()] = true
		if ns := at(o, "metadata", "namespace"); ns != nil {
			t.Errorf("%s names the namespace %v", o, ns)
		}
	}
	for _, o := range list {
		if spec := podOf(o); spec != nil {
			checkRestricted(t, o, spec)
			checkReferences(t, list, o, spec)
			checkProbes(t, o, spec)
		}
		checkSelector(t, list, o)
	}
	checkGrace(t, list, checkSettings(t, list))
	return list
}

// podOf is the pod of a workload.
func podOf(o object) map[string]any {
	switch o.kind() {
	case "Pod":
		return dict(o["spec"])
	case "Deployment", "StatefulSet":
		return dict(at(o, "spec", "template", "spec"))
	}
	return nil
}

// checkRestricted holds a pod against the Pod Security Standard "restricted", and against what we
// promise beyond it: a read-only file system, stated resources, no token of the API.
func checkRestricted(t *testing.T, o object, pod map[string]any) {
	t.Helper()
	if at(pod, "securityContext", "runAsNonRoot") != true || at(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		t.Errorf("%s: wants runAsNonRoot and the seccomp profile RuntimeDefault", o)
	}
	if uid, ok := at(pod, "securityContext", "runAsUser").(int); !ok || uid == 0 {
		t.Errorf("%s: runAsUser is %v, want a number that is not root's", o, at(pod, "securityContext", "runAsUser"))
	}
	if pod["automountServiceAccountToken"] != false {
		t.Errorf("%s: finds a token of the Kubernetes API", o)
	}
	if pod["hostNetwork"] != nil || pod["hostPID"] != nil || pod["hostIPC"] != nil {
		t.Errorf("%s: reaches into its machine", o)
	}
	for _, c := range items(pod["containers"]) {
		security := at(c, "securityContext")
		drop := items(at(security, "capabilities", "drop"))
		if at(security, "allowPrivilegeEscalation") != false || at(security, "readOnlyRootFilesystem") != true ||
			len(drop) != 1 || drop[0] != "ALL" || at(security, "privileged") != nil {
			t.Errorf("%s: container %v may do too much: %v", o, at(c, "name"), security)
		}
		if at(c, "resources", "requests", "cpu") == nil || at(c, "resources", "requests", "memory") == nil || at(c, "resources", "limits", "memory") == nil {
			t.Errorf("%s: container %v does not say what it needs", o, at(c, "name"))
		}
		if image := text(at(c, "image")); !strings.Contains(image, ":") || strings.HasSuffix(image, ":latest") {
			t.Errorf("%s: image %q says no version", o, image)
		}
	}
}

// checkProbes wants of everything that serves to be asked whether it is ready and alive.
func checkProbes(t *testing.T, o object, pod map[string]any) {
	t.Helper()
	if o.kind() == "Pod" {
		return
	}
	c := items(pod["containers"])[0]
	if at(c, "readinessProbe") == nil || at(c, "livenessProbe") == nil {
		t.Errorf("%s: has no probes", o)
	}
	if part := componentOf(o); part == "coordinator" || part == "node" {
		for probe, path := range map[string]string{"readinessProbe": "/ready", "livenessProbe": "/health", "startupProbe": "/health"} {
			if got := at(c, probe, "httpGet", "path"); got != path {
				t.Errorf("%s: %s asks %v, want %s", o, probe, got, path)
			}
		}
	}
}

func componentOf(o object) string {
	if c := text(at(o, "spec", "template", "metadata", "labels", "app.kubernetes.io/component")); c != "" {
		return c
	}
	return text(at(o, "metadata", "labels", "app.kubernetes.io/component"))
}

// checkReferences follows the names that a pod uses. Secrets may be the user's own.
func checkReferences(t *testing.T, list []object, o object, pod map[string]any) {
	t.Helper()
	exists := func(kind, name string) bool {
		return slices.ContainsFunc(list, func(o object) bool { return o.kind() == kind && o.name() == name })
	}
	volumes := map[string]bool{}
	for _, c := range items(at(o, "spec", "volumeClaimTemplates")) {
		volumes[text(at(c, "metadata", "name"))] = true
	}
	for _, v := range items(pod["volumes"]) {
		volumes[text(at(v, "name"))] = true
		if name := text(at(v, "configMap", "name")); name != "" && !exists("ConfigMap", name) {
			t.Errorf("%s: mounts the ConfigMap %s, which is not there", o, name)
		}
	}
	ports := map[string]bool{}
	for _, c := range items(pod["containers"]) {
		mounted := map[string]bool{}
		for _, m := range items(at(c, "volumeMounts")) {
			mounted[text(at(m, "name"))] = true
			if at(m, "subPath") != nil {
				t.Errorf("%s: mounts one file of %v: changes of it are never seen", o, at(m, "name"))
			}
		}
		if !maps.Equal(mounted, volumes) {
			t.Errorf("%s: mounts %v of the volumes %v", o, mounted, volumes)
		}
		for _, p := range items(at(c, "ports")) {
			ports[text(at(p, "name"))] = true
		}
		for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
			for _, how := range []string{"httpGet", "tcpSocket"} {
				if port := at(c, probe, how, "port"); port != nil && !ports[text(port)] {
					t.Errorf("%s: %s asks at port %v, which it does not have", o, probe, port)
				}
			}
		}
	}
	if name := text(pod["serviceAccountName"]); name != "" && name != "default" && !exists("ServiceAccount", name) {
		t.Errorf("%s: runs as the ServiceAccount %s, which is not there", o, name)
	}
	if name := text(at(o, "spec", "serviceName")); name != "" && !exists("Service", name) {
		t.Errorf("%s: belongs to the Service %s, which is not there", o, name)
	}
}

// checkSelector wants what an object selects to be there.
func checkSelector(t *testing.T, list []object, o object) {
	t.Helper()
	var selector map[string]any
	switch o.kind() {
	case "Service":
		selector = dict(at(o, "spec", "selector"))
	case "Deployment", "StatefulSet", "PodDisruptionBudget":
		selector = dict(at(o, "spec", "selector", "matchLabels"))
	case "NetworkPolicy":
		selector = dict(at(o, "spec", "podSelector", "matchLabels"))
	case "ServiceMonitor":
		want := dict(at(o, "spec", "selector", "matchLabels"))
		if !slices.ContainsFunc(list, func(s object) bool { return s.kind() == "Service" && within(want, dict(at(s, "metadata", "labels"))) }) {
			t.Errorf("%s selects no Service: %v", o, want)
		}
		return
	case "HorizontalPodAutoscaler":
		target := fmt.Sprint(at(o, "spec", "scaleTargetRef", "kind"), "/", at(o, "spec", "scaleTargetRef", "name"))
		i := slices.IndexFunc(list, func(d object) bool { return d.String() == target })
		if i < 0 {
			t.Errorf("%s scales %s, which is not there", o, target)
		} else if at(list[i], "spec", "replicas") != nil {
			t.Errorf("%s and the manifest of %s both say how many there are", o, target)
		}
		return
	default:
		return
	}
	ports := map[any]bool{}
	found := false
	for _, w := range list {
		if podOf(w) == nil || !within(selector, dict(at(w, "spec", "template", "metadata", "labels"))) {
			continue
		}
		found = true
		for _, c := range items(podOf(w)["containers"]) {
			for _, p := range items(at(c, "ports")) {
				ports[at(p, "name")] = true
			}
		}
	}
	if len(selector) == 0 || !found {
		t.Errorf("%s selects no pod: %v", o, selector)
	}
	for _, port := range portsLedTo(o) {
		if !ports[port] {
			t.Errorf("%s leads to the port %v, which its pods do not have", o, port)
		}
	}
}

// portsLedTo are the ports, by name, of the pods that an object is about.
func portsLedTo(o object) []any {
	var ports []any
	for _, p := range items(at(o, "spec", "ports")) {
		ports = append(ports, at(p, "targetPort"))
	}
	for _, rule := range items(at(o, "spec", "ingress")) {
		for _, p := range items(at(rule, "ports")) {
			ports = append(ports, at(p, "port"))
		}
	}
	return ports
}

// within says whether labels hold all of a selector.
func within(selector, labels map[string]any) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
