// Package containers holds the tests that need a container engine. They form a module of their
// own, so that testcontainers-go, its requirements and its replace directive stay out of the
// program's go.mod.
//
// Without an engine the tests are skipped, with the reason; with REQUIRE_DOCKER=1 they fail.
// TEST_REDIS_IMAGE names the Redis image, redis:7.4-alpine by default. run.sh brings up a private
// engine and a local image where there is neither.
package containers
