// Package browser looks at the status page as a person does: its tests start the real mcphub and a
// real Chromium, and check what is seen, what is written to the console, what the policy of the
// page blocks, and which addresses are asked for.
//
// Without a Chromium the tests skip, saying so; REQUIRE_BROWSER=1 makes that a failure. CHROMIUM
// names another program than the chromium of PATH. Pictures of the page are kept in E2E_ARTIFACTS, and
// with -pictures the ones in docs/img are made anew.
package browser
