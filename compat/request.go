package compat

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/gorilla/mux"
)

// Request is one call of an operation whose token, version, body, query, resource and
// policy have been checked.
type Request struct {
	*http.Request
	Version  Version
	Legacy   bool // under /v2, where versions are ignored and bodies are lenient
	Caller   *Caller
	Op       *Operation
	Raw      []byte     // the body as it came; null for none
	Query    url.Values // parsed once
	Resource Resource   // what the path's first id names, where a Resolver is registered

	policy                             Policy
	root, versionPrefix, projectPrefix string
}

// Resource is what a Resolver finds; its owner is the target of the operation's policy.
type Resource interface{ PolicyTarget() Target }

// Var gives a variable of the operation's path.
func (r *Request) Var(name string) string { return mux.Vars(r.Request)[name] }

// Decode reads the body, which has passed its schema, into v.
func (r *Request) Decode(v any) error {
	err := json.Unmarshal(r.Raw, v)
	if err != nil {
		return BadRequest("Malformed request body")
	}
	return nil
}

// May reports whether the caller may do what a rule names to the request's resource, or to
// the own project where there is none. It decides what a view shows.
func (r *Request) May(rule string) bool { return r.MayTo(rule, r.Target()) }

// MayTo is May for another target.
func (r *Request) MayTo(rule string, t Target) bool { return r.policy.Allows(rule, r.Caller, t) }

// Require is May with a 403 Fault for no.
func (r *Request) Require(rule string) error { return r.RequireTo(rule, r.Target()) }

// RequireTo is MayTo with a 403 Fault for no.
func (r *Request) RequireTo(rule string, t Target) error {
	if !r.MayTo(rule, t) {
		return Forbidden("Policy doesn't allow %s to be performed.", rule)
	}
	return nil
}

// Target is what rules are asked about: the request's resource, or the caller's own project
// where there is none.
func (r *Request) Target() Target {
	if r.Resource != nil {
		return r.Resource.PolicyTarget()
	}
	return Target{ProjectID: r.Caller.ProjectID, UserID: r.Caller.UserID}
}

// Answer writes v with the operation's success code.
func (r *Request) Answer(w http.ResponseWriter, v any) error {
	if v == nil {
		w.WriteHeader(r.Op.Success)
		return nil
	}
	r.nameKind(w)
	return WriteJSON(w, r.Op.Success, v)
}

// AnswerBytes writes encoded JSON with the operation's success code.
func (r *Request) AnswerBytes(w http.ResponseWriter, body []byte) error {
	r.nameKind(w)
	WriteBytes(w, r.Op.Success, body)
	return nil
}

// vendorKind is compute's own name for JSON, which an answer bears for those who ask for it.
const vendorKind = "application/vnd.openstack.compute+json"

func (r *Request) nameKind(w http.ResponseWriter) {
	if r.Header.Get("Accept") == vendorKind {
		w.Header().Set("Content-Type", vendorKind)
	}
}
