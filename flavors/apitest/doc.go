// Package apitest lets the tests of packages that register compute operations send whole
// requests: through the real router, with a token check and a policy that only look at the
// token's text.
package apitest
