// Package deploy holds the checks of deploy/: manifests against strict schemas and against each
// other, the settings in them by the program's own reader, alert rules and the Grafana board against
// the documented metrics, the compose file and the balancers' configurations by their own programs.
// Nothing is deployed; test/containers does that where an engine can run.
//
// They form a module of their own, so that what they need stays out of the program's go.mod.
// test/install.sh deploy gets the programs; REQUIRE_DEPLOY=1 makes a missing one a failure.
package deploy

//go:generate go run ./schemagen schemas
