package tempestlite

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
)

// What a server looks like in each state, and how it gets from one to another.

// looks are what GET /servers/{id} says of a server in a status, once nothing is going on.
var looks = map[string]struct {
	vmState  string
	power    []string // one of these: it is what the driver reports, and Nova's own for tests never pauses anything
	progress bool
}{
	"ACTIVE":            {"active", []string{"1"}, true},
	"SHUTOFF":           {"stopped", []string{"4"}, false},
	"PAUSED":            {"paused", []string{"3", "1"}, false},
	"SUSPENDED":         {"suspended", []string{"4", "7", "1"}, false},
	"RESCUE":            {"rescued", []string{"1", "4"}, false},
	"VERIFY_RESIZE":     {"resized", []string{"1", "4"}, true}, // off if it was off before
	"SHELVED":           {"shelved", []string{"4"}, false},
	"SHELVED_OFFLOADED": {"shelved_offloaded", []string{"4"}, false},
	"ERROR":             {"error", []string{"0", "1", "3", "4", "6", "7"}, false},
}

var zonelessTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$`)

// leg is an action, and the status that the server comes to.
type leg struct {
	action   string
	argument any
	statuses []string
}

func to(action string, argument any, statuses ...string) leg { return leg{action, argument, statuses} }

// Actions that are answered otherwise than with 202.
var actionCodes = map[string]int{"rescue": 200, "confirmResize": 204}

// walk sends a leg's action at the newest version, and looks at the server at the first and
// the newest.
func (t *T) walk(id string, l leg) {
	code := actionCodes[l.action]
	if code == 0 {
		code = 202
	}
	t.MustAct(Member, t.Cloud.Max, id, l.action, t.fill(l.argument), code)
	rests := t.WaitStatus(Member, First, id, l.statuses...)
	t.answerLooksRight(rests, First)
	t.answerLooksRight(t.Must(Member, t.Cloud.Max, "GET", "/servers/"+id, nil, 200), t.Cloud.Max)
}

// looksRight looks at a server that is at rest, at the first and the newest microversion.
func (t *T) looksRight(id string) {
	for _, v := range []Version{First, t.Cloud.Max} {
		t.answerLooksRight(t.Must(Member, v, "GET", "/servers/"+id, nil, 200), v)
	}
}

func (t *T) answerLooksRight(resp *Response, v Version) {
	status := resp.Str("server", "status")
	want := looks[status]
	what := fmt.Sprintf("of a server that is %s, at %s, ", status, v)
	t.Equal(what+"the vm_state", resp.Get("server", "OS-EXT-STS:vm_state"), want.vmState)
	t.Equal(what+"the task_state", resp.Get("server", "OS-EXT-STS:task_state"), nil)
	power := fmt.Sprint(resp.Get("server", "OS-EXT-STS:power_state"))
	if !slices.Contains(want.power, power) {
		t.Errorf("%sthe power_state is %s, not one of %v", what, power, want.power)
	}
	server, _ := resp.Get("server").(map[string]any)
	_, progress := server["progress"]
	t.Equal(what+"whether there is a progress", progress, want.progress)
	if launched := resp.Str("server", "OS-SRV-USG:launched_at"); !zonelessTime.MatchString(launched) {
		t.Errorf("%slaunched_at is %q", what, launched)
	}
	t.Equal(what+"terminated_at", resp.Get("server", "OS-SRV-USG:terminated_at"), nil)
	t.Equal(what+"whether there is a hostId", resp.Str("server", "hostId") != "", status != "SHELVED_OFFLOADED")
}

// chain is a check that leads a server through legs.
func chain(name, title string, legs ...leg) *Check {
	return behaviour("lifecycle", name, title, 0, func(t *T) {
		id := t.Server("ACTIVE")
		for _, l := range legs {
			t.walk(id, l)
		}
	})
}

func lifecycleChecks() []*Check {
	resize := to("resize", map[string]any{"flavorRef": "$flavor2"}, "VERIFY_RESIZE")
	hard := to("reboot", map[string]any{"type": "HARD"}, "ACTIVE")
	rebuild := map[string]any{"imageRef": "$image"}
	stop := to("os-stop", nil, "SHUTOFF")
	shelve := to("shelve", nil, "SHELVED_OFFLOADED", "SHELVED")
	return []*Check{
		chain("stop-start", "a server stops and starts", stop, to("os-start", nil, "ACTIVE")),
		chain("reboot", "a server reboots, softly and hard, however the type is spelt",
			to("reboot", map[string]any{"type": "Soft"}, "ACTIVE"), to("reboot", map[string]any{"type": "hard"}, "ACTIVE")),
		chain("pause-unpause", "a server is paused and unpaused", to("pause", nil, "PAUSED"), to("unpause", nil, "ACTIVE")),
		chain("suspend-resume", "a server is suspended and resumed", to("suspend", nil, "SUSPENDED"), to("resume", nil, "ACTIVE")),
		chain("rescue-unrescue", "a server is rescued and unrescued", to("rescue", nil, "RESCUE"), to("unrescue", nil, "ACTIVE")),
		chain("resize-revert", "a resize is taken back", resize, to("revertResize", nil, "ACTIVE")),
		chain("resize-confirm", "a resize is confirmed", resize, to("confirmResize", nil, "ACTIVE")),
		chain("shelve-unshelve", "a server is shelved and unshelved", shelve, to("unshelve", nil, "ACTIVE")),
		chain("rebuild", "a server is rebuilt", to("rebuild", rebuild, "ACTIVE")),
		chain("stopped-reboot", "a hard reboot starts a server that is stopped", stop, hard),
		chain("paused-reboot", "a hard reboot wakes a server that is paused", to("pause", nil, "PAUSED"), hard),
		chain("suspended-reboot", "a hard reboot wakes a server that is suspended", to("suspend", nil, "SUSPENDED"), hard),
		chain("stopped-rescue", "a server that is stopped is rescued, and runs afterwards", stop, to("rescue", nil, "RESCUE"), to("unrescue", nil, "ACTIVE")),
		chain("stopped-rebuild", "a server that is stopped is so too when it is rebuilt", stop, to("rebuild", rebuild, "SHUTOFF")),
		chain("stopped-resize", "a server that is stopped is so too when a resize is taken back", stop, resize, to("revertResize", nil, "SHUTOFF")),
		chain("stopped-shelve", "a server that was stopped runs when it is unshelved", stop, shelve, to("unshelve", nil, "ACTIVE")),
		chain("paused-shelve", "a server that is paused is shelved, and runs afterwards", to("pause", nil, "PAUSED"), shelve, to("unshelve", nil, "ACTIVE")),
		behaviour("lifecycle", "launched-at", "launched_at stays over a reboot, and is set anew by a rebuild", 0, launchedAt),
		behaviour("lifecycle", "one-at-a-time", "while a task is under way another action is refused, naming the task", 0, oneAtATime, covers("servers.rebuild", "servers.stop")),
		resetTo("error", "ERROR"), resetTo("active", "ACTIVE"),
		fromError("reboot", map[string]any{"type": "HARD"}, "ACTIVE"),
		fromError("os-stop", nil, "SHUTOFF"),
		fromError("rebuild", rebuild, "ACTIVE"),
		behaviour("lifecycle", "error-refuses", "a server in ERROR refuses what takes a running server", 0, errorRefuses, needs(NeedAdmin)),
	}
}

func launchedAt(t *T) {
	id := t.Server("ACTIVE")
	launched := func() string {
		return t.Must(Member, First, "GET", "/servers/"+id, nil, 200).Str("server", "OS-SRV-USG:launched_at")
	}
	first := launched()
	t.walk(id, to("reboot", map[string]any{"type": "HARD"}, "ACTIVE"))
	t.Equal("launched_at after a reboot", launched(), first)
	t.walk(id, to("rebuild", map[string]any{"imageRef": "$image"}, "ACTIVE"))
	if again := launched(); again <= first {
		t.Errorf("launched_at after a rebuild is %s, not later than %s", again, first)
	}
}

// oneAtATime asks for two things at once. Where the first is done before the second comes,
// nothing can be seen of it.
func oneAtATime(t *T) {
	id := t.Server("ACTIVE")
	t.MustAct(Member, First, id, "rebuild", map[string]any{"imageRef": t.Image()}, 202)
	resp := t.Act(Member, First, id, "os-stop", nil)
	if resp.Status == 202 {
		t.WaitStatus(Member, First, id, "SHUTOFF")
		t.Skipf("the cloud was too quick for it: the first action was done before the second came")
	}
	t.Want(resp, 409)
	t.WantMessage(resp, "Cannot 'stop' instance "+id+" while it is in task_state rebuild")
	t.WaitStatus(Member, First, id, "ACTIVE")
}

func resetTo(state, status string) *Check {
	return behaviour("lifecycle", "reset-to-"+state, "an administrator sets a server's state to "+state+", though it is locked", 0, func(t *T) {
		id := t.lockable().(string)
		t.MustAct(Member, First, id, "lock", nil, 202)
		t.MustAct(Admin, First, id, "os-resetState", map[string]any{"state": state}, 202)
		t.Equal("the status right after", t.Must(Member, First, "GET", "/servers/"+id, nil, 200).Str("server", "status"), status)
		t.looksRight(id)
	}, needs(NeedAdmin), covers("servers.resetState"))
}

func fromError(action string, argument any, status string) *Check {
	return behaviour("lifecycle", "error-"+action, action+" brings a server out of ERROR", 0, func(t *T) {
		id := t.Server("ERROR")
		t.MustAct(Member, First, id, action, t.fill(argument), 202)
		t.Eventually("server "+id+" becomes "+status, func() bool {
			now := t.Must(Member, First, "GET", "/servers/"+id, nil, 200)
			return now.Str("server", "status") == status && now.Get("server", "OS-EXT-STS:task_state") == nil
		})
		t.looksRight(id)
	}, needs(NeedAdmin))
}

func errorRefuses(t *T) {
	id := t.Server("ERROR")
	for action, name := range map[string]string{"os-start": "start", "pause": "pause", "suspend": "suspend", "shelve": "shelve"} {
		resp := t.Act(Member, First, id, action, nil)
		if t.Want(resp, 409) {
			t.WantMessage(resp, fmt.Sprintf("Cannot '%s' instance %s while it is in vm_state error", name, id))
		}
	}
	for action, argument := range map[string]map[string]any{
		"reboot": {"type": "SOFT"}, "resize": {"flavorRef": t.Flavor(1)}, "createImage": {"name": "tempest-lite"},
	} {
		resp := t.Act(Member, First, id, action, argument)
		if t.Want(resp, 409) {
			t.WantMessage(resp, fmt.Sprintf("Cannot '%s' instance %s while it is in vm_state error", action, id))
		}
	}
}

// addressesInFull are a server's addresses with their networks and MAC addresses, in an
// order that can be compared.
func addressesInFull(resp *Response) []string {
	all, _ := resp.Get("server", "addresses").(map[string]any)
	var out []string
	for _, label := range slices.Sorted(maps.Keys(all)) {
		list, _ := all[label].([]any)
		for _, a := range list {
			out = append(out, fmt.Sprint(label, " ", dig(a, "addr"), " ", dig(a, "OS-EXT-IPS-MAC:mac_addr")))
		}
	}
	slices.Sort(out)
	return out
}

// stamp reads a time as the Compute API writes it in created and updated.
func (t *T) stamp(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Errorf("the time %q is not of the form 2006-01-02T15:04:05Z", text)
	}
	return at
}
