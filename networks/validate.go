package networks

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"kilonova/compat"
)

// shown is a JSON value as it stands in a message.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return clip(v)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return clip(string(raw))
}

// wrong is the Fault for a value of an attribute: "Invalid input for A. Reason: R."
func wrong(attribute, format string, a ...any) *compat.Fault {
	return badRequest("Invalid input for %s. Reason: %s.", attribute, fmt.Sprintf(format, a...))
}

// parseAddress reads an IP address in the one form that is accepted: of IPv4 the canonical
// one, of IPv6 any without a zone.
func parseAddress(v any) (netip.Addr, bool) {
	text, ok := v.(string)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil && a.Zone() == ""
}

// parsePrefix reads an IP range, which may have host bits.
func parsePrefix(v any) (netip.Prefix, bool) {
	text, ok := v.(string)
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}

// parseRange is parsePrefix for what may also be a single address or have an IPv4 mask in
// place of its length.
func parseRange(v any) (netip.Prefix, bool) {
	a, ok := parseAddress(v)
	if ok {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, ok := parsePrefix(v)
	if ok {
		return p, true
	}
	text, _ := v.(string)
	start, mask, _ := strings.Cut(text, "/")
	a, ok = parseAddress(start)
	m, okMask := parseAddress(mask)
	if !ok || !okMask || !a.Is4() || !m.Is4() {
		return netip.Prefix{}, false
	}
	bits := 0
	for b := m.As4(); bits < 32 && b[bits/8]&(1<<(7-bits%8)) != 0; {
		bits++
	}
	p = netip.PrefixFrom(a, bits)
	return p, maskOf(bits) == m
}

func maskOf(bits int) netip.Addr {
	var b [4]byte
	for i := range bits {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

// multicast reports whether any address of a range is one of many receivers.
func multicast(p netip.Prefix) bool {
	many := netip.MustParsePrefix("224.0.0.0/4")
	if p.Addr().Is6() {
		many = netip.MustParsePrefix("ff00::/8")
	}
	return p.Overlaps(many)
}

// The ways of writing a hardware address: groups of hexadecimal digits by what is between
// them.
var macForms = regexp.MustCompile(`^(?i:([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}|([0-9a-f]{1,2}-){5}[0-9a-f]{1,2}|` +
	`([0-9a-f]{1,4}[:.-]){2}[0-9a-f]{1,4}|[0-9a-f]{5,6}[:-][0-9a-f]{5,6}|[0-9a-f]{11,12})$`)

// parseMAC brings a hardware address into the form of the database, six lower-case groups.
func parseMAC(v any) (string, bool) {
	text, ok := v.(string)
	if !ok || !macForms.MatchString(text) {
		return "", false
	}
	groups := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return strings.ContainsRune(":.-", r) })
	width := 12 / len(groups)
	var digits strings.Builder
	for _, g := range groups {
		digits.WriteString(strings.Repeat("0", max(width-len(g), 0)) + g)
	}
	all := digits.String()
	mac := make([]string, 0, 6)
	for i := 0; i < len(all); i += 2 {
		mac = append(mac, all[i:i+2])
	}
	out := strings.Join(mac, ":")
	return out, out != "00:00:00:00:00:00" && out != "ff:ff:ff:ff:ff:ff"
}

// groupMAC reports whether a hardware address is of many receivers.
func groupMAC(mac string) bool {
	n, err := strconv.ParseUint(mac[:2], 16, 8)
	return err != nil || n&1 == 1
}

// integer reads a whole number that came as one or as its digits; true and 1.5 are none.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case json.Number:
		i, err := strconv.ParseInt(n.String(), 10, 32)
		if err == nil {
			return i, true
		}
		f, err := n.Float64()
		return int64(f), err == nil && f == float64(int32(f))
	case string:
		i, err := strconv.ParseInt(strings.TrimSpace(n), 10, 32)
		return i, err == nil
	}
	return 0, false
}

// validName reports whether a name has only what can be printed and no blank around it.
func validName(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
			return false
		}
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	return s == "" || (!unicode.Is(unicode.Zs, first) && !unicode.Is(unicode.Zs, last))
}

// choices is a list of values as messages show it.
func choices(of []string) string { return "['" + strings.Join(of, "', '") + "']" }

// repeated finds a value that a list has twice.
func repeated(list []any) (string, bool) {
	seen := map[string]bool{}
	for _, one := range list {
		raw, err := json.Marshal(one)
		if err == nil && seen[string(raw)] {
			return shown(one), true
		}
		seen[string(raw)] = true
	}
	return "", false
}

// The checks of attributes that are lists. Each gets the list as it came and gives it in
// the form in which it is used.

func checkFixedIPs(a *attribute, list []any) error {
	seen := map[any]bool{}
	for _, one := range list {
		m, ok := one.(map[string]any)
		if !ok {
			return wrong(a.name, "Invalid data format for fixed IP: '%s'", shown(one))
		}
		if ip, has := m["ip_address"]; has {
			_, ok = parseAddress(ip)
			if !ok {
				return wrong(a.name, "'%s' is not a valid IP address", shown(ip))
			}
			if seen[ip] {
				return wrong(a.name, "Duplicate IP address '%s'", shown(ip))
			}
			seen[ip] = true
		}
		if id, has := m["subnet_id"]; has {
			text, ok := id.(string)
			if !ok || uuid.Validate(text) != nil {
				return wrong(a.name, "'%s' is not a valid UUID", shown(id))
			}
		}
	}
	return nil
}

func checkUUIDs(a *attribute, list []any) error {
	dup, is := repeated(list)
	if is {
		return wrong(a.name, "Duplicate items in the list: '%s'", dup)
	}
	for i, one := range list {
		text, ok := one.(string)
		if !ok || uuid.Validate(text) != nil {
			return wrong(a.name, "'%s' is not a valid UUID", shown(one))
		}
		list[i] = canonical(text)
	}
	return nil
}

// checkPools leaves it to the subnet whether the pools are in its range.
func checkPools(a *attribute, list []any) error {
	for _, one := range list {
		m, ok := one.(map[string]any)
		_, start := m["start"]
		_, end := m["end"]
		if !ok || len(m) != 2 || !start || !end {
			return wrong(a.name, "'%s' must be a dictionary with keys: ['start', 'end']", shown(one))
		}
		for _, key := range []string{"start", "end"} {
			_, ok = parseAddress(m[key])
			if !ok {
				return wrong(a.name, "'%s' is not a valid IP address", shown(m[key]))
			}
		}
	}
	return nil
}

func checkNameServers(a *attribute, list []any) error {
	seen := map[any]bool{}
	for _, one := range list {
		_, ok := parseAddress(one)
		if !ok {
			return wrong(a.name, "'%s' is not a valid nameserver. '%s' is not a valid IP address", shown(one), shown(one))
		}
		if seen[one] {
			return wrong(a.name, "Duplicate nameserver '%s'", shown(one))
		}
		seen[one] = true
	}
	return nil
}

func checkHostRoutes(a *attribute, list []any) error {
	for _, one := range list {
		m, ok := one.(map[string]any)
		_, destination := m["destination"]
		_, nexthop := m["nexthop"]
		if !ok || len(m) != 2 || !destination || !nexthop {
			return wrong(a.name, "'%s' must be a dictionary with keys: ['destination', 'nexthop']", shown(one))
		}
		p, ok := parsePrefix(m["destination"])
		if !ok || p != p.Masked() {
			return wrong(a.name, "'%s' is not a valid CIDR", shown(m["destination"]))
		}
		if p.Addr().IsLoopback() {
			return wrong(a.name, "'%s' is not a routable CIDR", shown(m["destination"]))
		}
		_, ok = parseAddress(m["nexthop"])
		if !ok {
			return wrong(a.name, "'%s' is not a valid IP address", shown(m["nexthop"]))
		}
	}
	dup, is := repeated(list)
	if is {
		return wrong(a.name, "Duplicate hostroute '%s'", dup)
	}
	return nil
}

// maxPairs is Neutron's default.
const maxPairs = 10

func checkPairs(_ *attribute, list []any) error {
	if len(list) > maxPairs {
		return fault(400, "AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum %d.", maxPairs)
	}
	type key struct{ mac, ip any }
	seen := map[key]bool{}
	for _, one := range list {
		m, ok := one.(map[string]any)
		if !ok {
			return wrong("allowed_address_pairs", "'%s' is not a dictionary", shown(one))
		}
		given, has := m["mac_address"]
		if has {
			mac, ok := parseMAC(given)
			if !ok {
				return badRequest("'%s' is not a valid MAC address", shown(given))
			}
			if groupMAC(mac) {
				return badRequest("MAC address %s is a multicast address, which is not supported.", shown(given))
			}
			m["mac_address"] = mac
		}
		ip, has := m["ip_address"]
		if !has {
			return fault(400, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
		}
		for name := range m {
			if name != "ip_address" && name != "mac_address" {
				return badRequest("Unrecognized attribute(s) '%s'", clip(name))
			}
		}
		err := checkPairAddress(ip)
		if err != nil {
			return err
		}
		if seen[key{m["mac_address"], ip}] {
			return duplicatePair(shown(m["mac_address"]), shown(ip))
		}
		seen[key{m["mac_address"], ip}] = true
	}
	return nil
}

func checkPairAddress(ip any) error {
	text, _ := ip.(string)
	if strings.Contains(text, "/") {
		p, ok := parsePrefix(ip)
		if !ok {
			return badRequest("'%s' is not a valid IP subnet", shown(ip))
		}
		if multicast(p) && p.Bits() > 0 {
			return badRequest("Subnet %s overlaps with multicast range, which is not supported.", shown(ip))
		}
		return nil
	}
	a, ok := parseAddress(ip)
	if !ok {
		return badRequest("'%s' is not a valid IP address", shown(ip))
	}
	if a.IsMulticast() {
		return badRequest("IP %s is a multicast address, which is not supported.", shown(ip))
	}
	return nil
}

func duplicatePair(mac, ip string) error {
	return fault(400, "DuplicateAddressPairInRequest", "Request contains duplicate address pair: mac_address %s ip_address %s.", mac, ip)
}

func checkZones(a *attribute, list []any) error {
	dup, is := repeated(list)
	if is {
		return wrong(a.name, "Duplicate items in the list: '%s'", dup)
	}
	for _, one := range list {
		text, ok := one.(string)
		if !ok || !validText(text) {
			return wrong(a.name, "'%s' is not a valid string", shown(one))
		}
	}
	return nil
}
