package images

import (
	"fmt"

	"kilonova/compat"
)

// scope is whose images a rule reaches.
type scope int

const (
	none     scope = iota // what has no row in the table: nobody
	anyImage              // no image is meant
	visible               // images that the caller sees
	owned                 // images of the caller's project
	joined                // the caller's own project as a member of the image
)

// rule is what a caller needs: a role, in a project, and the image in reach. The role
// admin has every rule on every image.
type rule struct {
	role  string
	scope scope
}

// rules are Glance's default policies. What is not here is refused.
var rules = map[string]rule{
	"get_images":      {"reader", anyImage},
	"get_image":       {"reader", visible},
	"add_image":       {"member", anyImage},
	"modify_image":    {"member", owned},
	"delete_image":    {"member", owned},
	"upload_image":    {"member", owned},
	"stage_image":     {"member", owned},
	"import_image":    {"member", owned},
	"download_image":  {"member", visible},
	"deactivate":      {"member", owned},
	"reactivate":      {"member", owned},
	"get_members":     {"reader", visible},
	"add_member":      {"member", owned},
	"delete_member":   {"member", owned},
	"modify_member":   {"member", joined},
	"get_schemas":     {"reader", anyImage},
	"get_import_info": {"reader", anyImage},
	"get_stores":      {"reader", anyImage},
	"get_metadefs":    {"reader", anyImage},
	"get_tasks":       {"admin", anyImage},
	"get_image_tasks": {"reader", visible},

	"publicize_image":      {"admin", visible},
	"communitize_image":    {"member", owned},
	"set_owner":            {"admin", visible},
	"download_deactivated": {"admin", visible},
}

// allowed decides for a caller and, where the rule's scope needs one, an image that the
// caller sees. member is the project of a membership's path.
func allowed(name string, c *compat.Caller, img *Image, member string) bool {
	r := rules[name]
	if r.scope == none || c == nil {
		return false
	}
	if c.IsAdmin() {
		return true
	}
	if !c.Has(r.role) || c.ProjectID == "" {
		return false
	}
	switch r.scope {
	case anyImage, visible:
		return true
	case owned:
		return img != nil && img.Owner == c.ProjectID
	case joined:
		return member == c.ProjectID
	}
	return false
}

// require is allowed with a 403 Fault for no.
func require(name string, c *compat.Caller, img *Image, member string) error {
	if !allowed(name, c, img, member) {
		return compat.Forbidden("You are not authorized to complete %s action.", name)
	}
	return nil
}

// checkRoutes reports a route without a rule, with which the service does not start.
func checkRoutes() error {
	for _, rt := range routes {
		if rules[rt.rule].scope == none {
			return fmt.Errorf("images: %s %s has no policy", rt.method, rt.path)
		}
	}
	return nil
}
