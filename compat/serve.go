package compat

import (
	"net/http"
)

// serve runs the checks of one call in Nova's order and then the operation's handler.
func (e *endpoint) serve(w http.ResponseWriter, r *Request, urlProject string) error {
	body, hasBody, err := e.readBody(r)
	if err != nil {
		return err
	}
	ops, err := e.operations(r, body)
	if err != nil {
		return err
	}
	if urlProject != "" && urlProject != r.Caller.ProjectID {
		return BadRequest("Malformed request URL: URL's project_id '%s' doesn't match Context's project_id '%s'", clip(urlProject), r.Caller.ProjectID)
	}
	r.Op = atVersion(ops, r.Version)
	if r.Op == nil {
		return NotFound("API version %s is not supported on this method.", r.Version)
	}
	Means(r.Context(), r.Op.Name())
	if r.Op.Refusal != "" {
		return &Fault{Code: r.Op.Success, Message: r.Op.Refusal}
	}
	err = r.checkInput(body, hasBody)
	if err != nil {
		return err
	}
	err = e.authorize(r)
	if err != nil {
		return err
	}
	h := e.api.handlers[r.Op.Name()]
	if h == nil {
		return &Fault{Code: http.StatusNotImplemented, Message: r.Op.Name() + " is not implemented by this release of kilonova."}
	}
	return h(w, r)
}

func atVersion(ops []*Operation, v Version) *Operation {
	for _, op := range ops {
		if op.Has(v) {
			return op
		}
	}
	return nil
}

// operations gives the rows that the call may mean: by the one key of its body when the
// endpoint is an action one.
func (e *endpoint) operations(r *Request, body any) ([]*Operation, error) {
	if ops := e.actions[""]; ops != nil {
		return ops, nil
	}
	doc, ok := body.(map[string]any)
	if !ok || len(doc) != 1 {
		return nil, BadRequest("Malformed request body")
	}
	for name := range doc {
		ops := e.actions[name]
		if ops == nil {
			return nil, BadRequest("There is no such action: %s", clip(name))
		}
		return ops, nil
	}
	return nil, BadRequest("Malformed request body")
}
