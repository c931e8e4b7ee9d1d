// Schemagen writes the JSON schemas that the manifests are checked against: one strict,
// self-contained file for each kind that deploy/ uses, in kubeconform's naming. It reads them out of
// two modules of the Go module proxy, which hold the API description of Kubernetes and the custom
// resources of the Prometheus operator (both Apache-2.0).
//
//	go run ./schemagen schemas
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.36.3"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// kinds are those of Kubernetes itself that deploy/ uses.
var kinds = []string{
	"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod",
	"PodDisruptionBudget", "Secret", "Service", "ServiceAccount", "StatefulSet",
}

// crds are the files of the operator's custom resources.
var crds = []string{"monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_prometheusrules.yaml"}

type object = map[string]any

func main() {
	if len(os.Args) != 2 {
		fail("usage: schemagen FOLDER")
	}
	out := os.Args[1]
	var swagger object
	read(filepath.Join(module(kubernetes), "api", "openapi-spec", "swagger.json"), &swagger)
	defs := swagger["definitions"].(object)
	for _, v := range defs {
		d := v.(object)
		gvks, _ := d["x-kubernetes-group-version-kind"].([]any)
		if len(gvks) != 1 {
			continue
		}
		g := gvks[0].(object)
		kind, group, version := g["kind"].(string), g["group"].(string), g["version"].(string)
		props, _ := d["properties"].(object)
		if !slices.Contains(kinds, kind) || props["metadata"] == nil || strings.Contains(version, "beta") {
			continue
		}
		write(out, kind, group, version, expand(defs, d, nil).(object))
	}
	meta := expand(defs, defs["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"], nil)
	for _, name := range crds {
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						V3 object `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		read(filepath.Join(module(operator), "example", "prometheus-operator-crd", name), &crd)
		v := crd.Spec.Versions[0]
		s := expand(nil, v.Schema.V3, nil).(object)
		s["properties"].(object)["metadata"] = meta
		write(out, crd.Spec.Names.Kind, crd.Spec.Group, v.Name, s)
	}
}

// write pins apiVersion and kind, and writes the file under the name that kubeconform looks for.
func write(dir, kind, group, version string, schema object) {
	api, name := version, strings.ToLower(kind)
	if group != "" {
		api = group + "/" + version
		name += "-" + strings.Split(group, ".")[0]
	}
	props := schema["properties"].(object)
	props["apiVersion"] = object{"type": "string", "enum": []string{api}}
	props["kind"] = object{"type": "string", "enum": []string{kind}}
	required, _ := schema["required"].([]any)
	schema["required"] = append(required, "apiVersion", "kind")
	b, err := json.Marshal(schema)
	check(err)
	file := filepath.Join(dir, strings.ToLower(name+"-"+version)+".json")
	check(os.WriteFile(file, append(b, '\n'), 0o600)) //nolint:gosec // the names are those of the API
}

// expand inlines references, closes objects to fields they do not have, and drops what is for
// people.
func expand(defs object, v any, path []string) any {
	switch x := v.(type) {
	case object:
		if ref, ok := x["$ref"].(string); ok {
			return follow(defs, strings.TrimPrefix(ref, "#/definitions/"), path)
		}
		if x["x-kubernetes-int-or-string"] == true {
			return object{"oneOf": []any{object{"type": "string"}, object{"type": "integer"}}}
		}
		o := object{}
		for key, e := range x {
			switch {
			case key == "description" || strings.HasPrefix(key, "x-kubernetes"):
			case key == "properties": // its keys are names of fields
				fields := object{}
				for name, f := range e.(object) {
					fields[name] = expand(defs, f, path)
				}
				o[key] = fields
			default:
				o[key] = expand(defs, e, path)
			}
		}
		if o["properties"] != nil && o["additionalProperties"] == nil && x["x-kubernetes-preserve-unknown-fields"] != true {
			o["additionalProperties"] = false
		}
		return o
	case []any:
		list := make([]any, len(x))
		for i := range x {
			list[i] = expand(defs, x[i], path)
		}
		return list
	}
	return v
}

func follow(defs object, name string, path []string) any {
	switch {
	case slices.Contains(path, name): // recursive
		return object{}
	case strings.HasSuffix(name, "util.intstr.IntOrString"):
		return object{"oneOf": []any{object{"type": "string"}, object{"type": "integer"}}}
	case strings.HasSuffix(name, "api.resource.Quantity"):
		return object{"oneOf": []any{object{"type": "string"}, object{"type": "number"}}}
	}
	return expand(defs, defs[name], append(slices.Clone(path), name))
}

// module fetches a module and returns its folder.
func module(at string) string {
	b, err := exec.CommandContext(context.Background(), "go", "mod", "download", "-json", at).Output() //nolint:gosec // constants of this file
	var m struct{ Dir, Error string }
	check(err)
	check(json.Unmarshal(b, &m))
	return m.Dir
}

// read decodes a file of JSON or YAML.
func read(file string, into any) {
	b, err := os.ReadFile(file) //nolint:gosec // files of modules
	check(err)
	if strings.HasSuffix(file, ".json") {
		check(json.Unmarshal(b, into))
		return
	}
	check(yaml.Unmarshal(b, into))
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	_, _ = fmt.Fprintln(os.Stderr, "schemagen:", why)
	os.Exit(1)
}
