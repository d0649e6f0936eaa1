// Package tempestlite tells how faithfully a cloud speaks the OpenStack Compute API.
//
// It needs nothing but the cloud's own HTTP services, and knows the API from the tables in
// contract/: the operations, the schemas of bodies, queries and answers by range of
// microversions, and how each operation is called. From these it makes most of its checks
// (checks.go says which kinds there are); those of behaviour over several calls are written
// by hand in the behaviour_*.go files.
//
// The way through the code: contract.go reads the tables; cloud.go logs in and makes the
// accounts that checks speak as; generate.go makes checks of the tables; run.go runs them,
// several at a time, each with a T (t.go) that records what was sent and heard; fixtures.go
// makes what checks need, and takes it away again; report*.go and coverage.go tell.
//
// A check is right about the original first: all of them pass on OpenStack's own Nova.
package tempestlite
