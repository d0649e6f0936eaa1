package tempestlite

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// valueMakers are the values that contract/calls.yaml may name with a $. A value is made
// once a check: two $active of one check are the same server.
func valueMakers() map[string]func(*T) any {
	all := map[string]func(*T) any{
		"name":          func(t *T) any { return t.Name() },
		"uuid":          func(*T) any { return uuid.NewString() },
		"project":       func(t *T) any { return t.Cloud.ProjectID(Member) },
		"other_project": func(t *T) any { return t.Cloud.ProjectID(Other) },
		"user":          func(t *T) any { return t.Cloud.UserID(Member) },
		"other_user":    func(t *T) any { return t.Cloud.UserID(Other) },

		"flavor":  func(t *T) any { return t.Flavor(0) },
		"flavor2": func(t *T) any { return t.Flavor(1) },
		"image":   func(t *T) any { return t.Image() },
		"network": func(t *T) any { return t.Network(Member) },
		"port":    func(t *T) any { return t.Port() },

		"server":       func(t *T) any { return t.SharedServer(Member) },
		"other_server": func(t *T) any { return t.SharedServer(Other) },
		"locked":       func(t *T) any { return t.LockedServer() },
		"active":       func(t *T) any { return t.Server("ACTIVE") },
		"plugged":      func(t *T) any { return t.Plugged("ACTIVE") },
		"stopped":      func(t *T) any { return t.Server("SHUTOFF") },
		"paused":       func(t *T) any { return t.Server("PAUSED") },
		"suspended":    func(t *T) any { return t.Plugged("SUSPENDED") }, // its port is asked for
		"rescued":      func(t *T) any { return t.Server("RESCUE") },
		"resized":      func(t *T) any { return t.Server("VERIFY_RESIZE") },
		"shelved":      func(t *T) any { return t.Server("SHELVED_OFFLOADED") },
		"failed":       func(t *T) any { return t.Server("ERROR") },
		"fresh_server": func(t *T) any { return t.NewServer(Member, First, nil).Str("server", "id") },
		"listed":       (*T).listedName,

		"lockable":     (*T).lockable,
		"kept_shelved": (*T).keptShelved,
		"soft_deleted": (*T).softDeleted,

		"security_group_name": (*T).securityGroupName,
		"floating_address":    (*T).floatingAddress,
		"attached_address":    (*T).attachedAddress,
		"fixed_address":       (*T).fixedAddress,

		"keypair":             (*T).freshKeypair,
		"fresh_flavor":        (*T).freshFlavor,
		"fresh_public_flavor": (*T).freshPublicFlavor,
		"flavor_with_access":  (*T).flavorWithAccess,
		"flavor_with_spec":    (*T).flavorWithSpec,
		"fresh_image":         (*T).freshImage,
		"spare_project":       (*T).spareProject,
		"aggregate":           (*T).freshAggregate,
		"group":               (*T).freshGroup,
		"host":                (*T).someHost,
		"hypervisor":          (*T).someHypervisor,
		"service":             (*T).someService,

		"staffed_aggregate":  (*T).staffedAggregate,
		"proxied_volume":     (*T).proxiedVolume,
		"proxied_snapshot":   (*T).proxiedSnapshot,
		"hypervisor_name":    (*T).someHypervisorName,
		"host_to_disturb":    (*T).hostToDisturb,
		"service_to_disturb": (*T).serviceToDisturb,
	}
	maps.Copy(all, subresourceValues())
	return all
}

// Value is what a $ word stands for in this check.
func (t *T) Value(name string) any {
	if v, made := t.values[name]; made {
		return v
	}
	maker := t.fix.makers[name]
	if maker == nil {
		t.Fatalf("contract/calls.yaml names a value $%s that is not known", name)
	}
	var v any
	switch {
	case t.sharing && unlooked[t.Check.Kind] && t.Cloud.lacks(Admin) != "":
		v = dummies("$" + name)
	case t.sharing && standIns[t.Check.Kind] && t.Cloud.refuses(name):
		v = dummies("$" + name)
	case t.sharing && slices.Contains(pooled, name):
		v = t.SharedServer(Member)
	case t.sharing && slices.Contains(fresh, name):
		v = t.share(name+" for all", func() (any, error) { return maker(t), nil })
	default:
		v = maker(t)
	}
	t.values[name] = v
	return v
}

// makers names the operation that makes a value, for those that a cloud may refuse.
var makers = map[string]string{
	"aggregate": "aggregates.create", "staffed_aggregate": "aggregates.create", "group": "server_groups.create",
	"host": "services.list", "service": "services.list", "hypervisor": "hypervisors.list",
}

// standIns are the kinds of checks that are answered before anything is looked up: where
// the cloud refuses to make or to name what their path needs, any name will do.
var standIns = map[Kind]bool{
	NoToken: true, BadToken: true, Forbidden: true, TooOld: true, TooNew: true, BadBody: true,
	UnknownField: true, MissingField: true, WrongType: true, WrongValue: true,
}

// unlooked are the kinds of checks that are answered before the cloud knows who asks, or
// for what: a run that may not make everything has any name do for them.
var unlooked = map[Kind]bool{NoToken: true, BadToken: true}

// refuses tells whether the cloud does not do what makes a value: it was asked at the start.
func (c *Cloud) refuses(value string) bool { return c.refused[makers[value]] }

// Values that a check changes. Where it only asks for what has to be refused, all checks
// share one, which no one changes.
var (
	pooled = []string{"active", "plugged", "stopped", "paused", "suspended", "rescued", "resized", "shelved", "failed", "fresh_server", "lockable", "kept_shelved", "soft_deleted"}
	fresh  = []string{"keypair", "fresh_flavor", "flavor_with_access", "flavor_with_spec", "fresh_image", "aggregate", "group", "port", "security_group_name", "floating_address", "attached_address"}
)

// fill puts values where a text begins with $. "$name-x" is a value with more behind it:
// the word ends where letters and underscores do.
func (t *T) fill(v any) any {
	switch v := v.(type) {
	case string:
		return t.fillText(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out[fmt.Sprint(t.fillText(key))] = t.fill(v[key])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = t.fill(v[i])
		}
		return out
	}
	return v
}

func (t *T) fillText(s string) any {
	before, rest, found := strings.Cut(s, "$")
	if !found {
		return s
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	if end < 0 {
		end = len(rest)
	}
	v := t.Value(rest[:end])
	if before == "" && end == len(rest) {
		return v
	}
	return before + fmt.Sprint(v) + fmt.Sprint(t.fillText(rest[end:]))
}

// path fills the placeholders of an operation's path.
func (t *T) path(op *Operation, values []string) string {
	var out strings.Builder
	rest := op.Path
	for _, v := range values {
		before, after, _ := strings.Cut(rest, "{")
		_, rest, _ = strings.Cut(after, "}")
		out.WriteString(before)
		out.WriteString(url.PathEscape(fmt.Sprint(t.fill(v))))
	}
	return out.String() + rest
}

func (t *T) freshKeypair() any {
	name := t.Name()
	t.Must(Member, First, "POST", "/os-keypairs", map[string]any{"keypair": map[string]any{"name": name}}, 200)
	t.RemovePath(Member, "/os-keypairs/"+name)
	return name
}

func (t *T) freshAggregate() any {
	id := t.Must(Admin, First, "POST", "/os-aggregates", map[string]any{"aggregate": map[string]any{"name": t.Name()}}, 200).Get("aggregate", "id")
	t.removeAggregate(id)
	return id
}

func (t *T) freshGroup() any {
	body := map[string]any{"server_group": map[string]any{"name": t.Name(), "policies": []any{"anti-affinity"}}}
	id := t.Must(Member, First, "POST", "/os-server-groups", body, 200).Str("server_group", "id")
	t.RemovePath(Member, "/os-server-groups/"+id)
	return id
}

// zeros is a reader of n zero bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
