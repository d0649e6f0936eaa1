package servers

import (
	"net/http/httptest"
	"strings"
	"testing"

	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// neutron asks the network service as "project role".
func (c *cloud) neutron(code int, who, method, path, body string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, "/v2.0"+path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", who)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	c.s.Networks.Handler().ServeHTTP(w, r)
	if w.Code != code {
		c.t.Fatalf("%s %s %s = %d %s, want %d", method, path, body, w.Code, w.Body, code)
	}
	return answer{w.Code, w.Body.String(), w.Header()}
}

// told is what a server's host is to make of its ports; nil when there is nothing to do.
func (c *cloud) told(id string) []work.Port {
	c.t.Helper()
	var all []string
	err := c.db.Select(&all, "SELECT args FROM work WHERE server_uuid = ? AND kind = 'replug' AND state = 'queued'", id)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(all) > 1 {
		c.t.Fatalf("%d pieces of work for one server's ports", len(all))
	}
	if len(all) == 0 {
		return nil
	}
	var args work.Args
	lifecycle.Decode(all[0], &args)
	if args.Guest.UUID != id {
		c.t.Fatalf("work of another guest: %s", all[0])
	}
	return append([]work.Port{}, args.Guest.Ports...)
}

const admin = ours + " admin"

// withPorts boots a server with two ports of a network of its project, and gives their ids.
func (c *cloud) withPorts() (id string, ports []string) {
	c.t.Helper()
	net := c.neutron(201, ours+" member", "POST", "/networks", `{"network":{"name":"n"}}`).text("network", "id")
	c.neutron(201, ours+" member", "POST", "/subnets", `{"subnet":{"network_id":"`+net+`","ip_version":4,"cidr":"10.9.0.0/24"}}`)
	var list []string
	for range 2 {
		port := c.neutron(201, ours+" member", "POST", "/ports", `{"port":{"network_id":"`+net+`"}}`).text("port", "id")
		ports = append(ports, port)
		list = append(list, `{"port":"`+port+`"}`)
	}
	id = c.want(202, "POST", "/servers", c.createBody("p", `,"networks":[`+strings.Join(list, ",")+`]`)).text("server", "id")
	return id, ports
}

// TestHostsAreToldWhatPortsBecame: what a host enforces follows the ports of guests that it has,
// whatever their servers are doing, and no server's state is touched.
func TestHostsAreToldWhatPortsBecame(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id, ports := c.withPorts()
		put := func(port, attrs string) {
			t.Helper()
			c.neutron(200, admin, "PUT", "/ports/"+port, `{"port":{`+attrs+`}}`)
		}
		put(ports[0], `"allowed_address_pairs":[{"ip_address":"10.9.0.77"}]`) // the guest is not made yet
		if told := c.told(id); len(told) != 2 || len(told[0].Pairs) != 1 {
			t.Errorf("beside the build: %+v", told)
		}
		c.settle()
		before := c.is(id, "ACTIVE")
		revision := c.count("SELECT generation FROM servers WHERE uuid = ?", id)
		put(ports[0], `"name":"x"`)
		if told := c.told(id); told != nil {
			t.Errorf("a name is a host's business: %+v", told)
		}
		put(ports[0], `"allowed_address_pairs":[]`)
		put(ports[1], `"security_groups":[],"port_security_enabled":false`)
		put(ports[1], `"fixed_ips":[{"ip_address":"10.9.0.99"}]`)
		told := c.told(id)
		if len(told) != 2 || told[0].Pairs != nil || told[0].Unguarded || !told[1].Unguarded || told[1].Fixed[0].Address != "10.9.0.99" {
			t.Errorf("%+v", told)
		}
		c.neutron(204, ours+" member", "DELETE", "/ports/"+ports[1], "")
		if told = c.told(id); len(told) != 1 || told[0].ID != ports[0] {
			t.Errorf("a deleted port: %+v", told)
		}
		c.act(202, id, `{"pause":null}`) // other work neither waits for it nor ends it
		c.neutron(204, ours+" member", "DELETE", "/ports/"+ports[0], "")
		if told = c.told(id); told == nil || len(told) != 0 {
			t.Errorf("the last port: %+v", told)
		}
		c.settle()
		after := c.is(id, "PAUSED")
		if n := c.count("SELECT generation FROM servers WHERE uuid = ?", id); n != revision+2 {
			t.Errorf("generation %d became %d", revision, n)
		}
		if before.get("server", "OS-SRV-USG:launched_at") != after.get("server", "OS-SRV-USG:launched_at") {
			t.Error("it was launched again")
		}
		if n := c.count("SELECT COUNT(*) FROM work"); n != 0 {
			t.Errorf("%d pieces of work are left", n)
		}
	})
}

// TestPortsSayWhyTheyAreNotPlugged: the host's reason stays with the port until the next try, for
// administrators.
func TestPortsSayWhyTheyAreNotPlugged(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id, ports := c.withPorts()
		c.settle()
		is := func(what, status, vif, why string) {
			t.Helper()
			a := c.neutron(200, admin, "GET", "/ports/"+ports[1], "")
			if a.text("port", "status") != status || a.text("port", "binding:vif_type") != vif || a.text("port", "binding:vif_details", "reason") != why {
				t.Errorf("%s: %s", what, a.body)
			}
			if a = c.neutron(200, ours+" member", "GET", "/ports/"+ports[1], ""); strings.Contains(a.body, "eth0") {
				t.Errorf("%s: a member reads %s", what, a.body)
			}
			if a = c.neutron(200, admin, "GET", "/ports/"+ports[0], ""); a.text("port", "binding:vif_type") == "binding_failed" {
				t.Errorf("%s: the other port: %s", what, a.body)
			}
		}
		const why = "it overlaps with the route 10.9.0.0/24 of eth0"
		no := work.Result{Message: "No.", PowerState: work.Shutdown, Ports: []work.PortFailure{{Port: ports[1], Why: why}, {Port: "of nobody", Why: "x"}}}
		is("at first", "ACTIVE", "bridge", "")
		// A change that the running guest's host cannot make.
		c.refuse[work.Replug] = no
		c.neutron(200, admin, "PUT", "/ports/"+ports[1], `{"port":{"fixed_ips":[{"ip_address":"10.9.0.50"}]}}`)
		c.settle()
		c.is(id, "ACTIVE")
		is("changed", "ERROR", "binding_failed", why)
		delete(c.refuse, work.Replug)
		c.neutron(200, admin, "PUT", "/ports/"+ports[1], `{"port":{"fixed_ips":[{"ip_address":"10.9.0.51"}]}}`)
		c.settle()
		is("changed again", "ACTIVE", "bridge", "")
		// A start.
		c.act(202, id, `{"os-stop":null}`)
		c.settle()
		c.refuse[work.Start] = no
		c.act(202, id, `{"os-start":null}`)
		c.settle()
		c.is(id, "ERROR")
		is("started", "ERROR", "binding_failed", why)
		c.as(admin, "2.1", "POST", "/servers/"+id+"/action", `{"reboot":{"type":"HARD"}}`)
		c.settle()
		is("rebooted", "ACTIVE", "bridge", "")
		// A build: the ports are free again, and one says why.
		c.want(204, "DELETE", "/servers/"+id, "")
		c.settle()
		c.refuse[work.Spawn] = no
		list := `,"networks":[{"port":"` + ports[0] + `"},{"port":"` + ports[1] + `"}]`
		id = c.want(202, "POST", "/servers", c.createBody("p", list)).text("server", "id")
		c.settle()
		c.is(id, "ERROR")
		is("built", "DOWN", "binding_failed", why)
		delete(c.refuse, work.Spawn)
		id = c.want(202, "POST", "/servers", c.createBody("p", list)).text("server", "id")
		c.settle()
		c.is(id, "ACTIVE")
		is("built again", "ACTIVE", "bridge", "")
		c.audit()
	})
}

// TestReplugWaitsForItsHost: what a host that is away was to be told goes at its deadline, and
// leaves the server as it is.
func TestReplugWaitsForItsHost(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id, ports := c.withPorts()
		c.settle()
		c.neutron(200, admin, "PUT", "/ports/"+ports[0], `{"port":{"allowed_address_pairs":[{"ip_address":"10.9.0.77"}]}}`)
		c.exec("UPDATE work SET deadline = 1")
		err := c.s.Life.KeepOnce(t.Context())
		if err != nil || c.told(id) != nil {
			t.Errorf("%v, %v", err, c.told(id))
		}
		c.is(id, "ACTIVE")
	})
}
