// Package identity is kilonova's own Keystone v3: domains, projects, users, groups, roles,
// their grants, the catalog, application credentials and tokens; the token check of all
// services (Service.Authenticate); and the policy of the compute API (Policy).
//
// A token is a JWS with the payload of Keystone's jws provider: it says who, where and until
// when, and is checked against key files alone. What it is worth besides, the roles and
// names of its user and project, is looked up once and remembered (facts.go) until a version
// row in the database says that something has changed; the same poll brings the list of
// revocations (revocations.go). So a check on the usual way runs no SQL.
//
// Deny is the default everywhere: a nil caller, an unknown rule and a list of revocations
// that could not be read for some seconds all mean no.
package identity
