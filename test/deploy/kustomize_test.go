package deploy

import (
	"os"
	"path/filepath"
	"testing"
)

// What "kubectl apply -k deploy/kubernetes" sends.
func TestKubernetes(t *testing.T) {
	list := checkManifests(t, must(t, program(t, "kustomize"), "build", inRepo("deploy", "kubernetes")))
	counts := map[string]int{}
	for _, o := range list {
		counts[o.kind()]++
		if o.String() == "Deployment/mcphub" && at(o, "spec", "replicas") != 3 {
			t.Errorf("%s: %v coordinators, want 3", o, at(o, "spec", "replicas"))
		}
		if o.kind() == "Secret" {
			t.Errorf("%s: there is a secret in the repository", o)
		}
	}
	for kind, n := range map[string]int{"Deployment": 1, "StatefulSet": 2, "PodDisruptionBudget": 2, "NetworkPolicy": 3, "Service": 3} {
		if counts[kind] != n {
			t.Errorf("%d of %s, want %d", counts[kind], kind, n)
		}
	}
}

// The base with every component but the Redis, as one would run it.
func TestKubernetesComponents(t *testing.T) {
	dir := t.TempDir()
	base, err := filepath.Abs(inRepo("deploy", "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	k := "resources: [" + base + "/base]\ncomponents:\n"
	for _, c := range []string{"hpa", "ingress", "monitoring"} {
		k += "  - " + base + "/components/" + c + "\n"
	}
	k += "images:\n  - {name: mcphub, newName: registry.example.com/mcphub, newTag: v1}\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(k), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range checkManifests(t, must(t, program(t, "kustomize"), "build", dir)) {
		if o.String() == "Deployment/mcphub" {
			if got := at(items(podOf(o)["containers"])[0], "image"); got != "registry.example.com/mcphub:v1" {
				t.Errorf("the image is %v", got)
			}
		}
	}
}
