// Package scheduler orders the hosts on which a server could run: filters say which can,
// weighers say which should. It only looks; the claim that follows decides.
package scheduler
