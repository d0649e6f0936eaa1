// Package compat is what every OpenStack service has in common on the wire: faults,
// microversions, request ids, the table of operations, body and query validation, views
// that differ by microversion, links, paging and version documents. It knows no resource.
//
// A compute operation is a row of contract/operations.tsv: method, path, action, range of
// microversions, success code, policy. The Compute router reads the table, so a handler is
// registered by the operation's name and is called only when the token, version, body,
// query, resource and policy of the request have been checked, in Nova's order.
package compat
