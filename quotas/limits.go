package quotas

import (
	"net/http"

	"kilonova/compat"
)

// limitsView is GET /limits: what a project may have and what it has.
type limitsView struct {
	Cores              int `json:"maxTotalCores"`
	Instances          int `json:"maxTotalInstances"`
	RAM                int `json:"maxTotalRAMSize"`
	Keypairs           int `json:"maxTotalKeypairs"`
	ServerMeta         int `json:"maxServerMeta"`
	ServerGroups       int `json:"maxServerGroups"`
	GroupMembers       int `json:"maxServerGroupMembers"`
	CoresUsed          int `json:"totalCoresUsed"`
	InstancesUsed      int `json:"totalInstancesUsed"`
	RAMUsed            int `json:"totalRAMUsed"`
	ServerGroupsUsed   int `json:"totalServerGroupsUsed"`
	Personality        int `json:"maxPersonality" until:"2.56"`
	PersonalitySize    int `json:"maxPersonalitySize" until:"2.56"`
	ImageMeta          int `json:"maxImageMeta" until:"2.38"`
	FloatingIPs        int `json:"maxTotalFloatingIps" until:"2.35"`
	SecurityGroups     int `json:"maxSecurityGroups" until:"2.35"`
	SecurityGroupRules int `json:"maxSecurityGroupRules" until:"2.35"`
	FloatingIPsUsed    int `json:"totalFloatingIpsUsed" until:"2.35"`
	SecurityGroupsUsed int `json:"totalSecurityGroupsUsed" until:"2.35"`
}

var limitsEncoder = compat.NewEncoder[limitsView]()

// showLimits answers GET /limits.
func (s *Service) showLimits(w http.ResponseWriter, r *compat.Request) error {
	projectID := r.Caller.ProjectID
	if asked := r.Query["tenant_id"]; len(asked) > 0 {
		projectID = asked[len(asked)-1]
		err := r.RequireTo("os_compute_api:limits:other_project", compat.Target{ProjectID: projectID, UserID: r.Caller.UserID})
		if err != nil {
			return err
		}
	}
	limits, err := s.limits(r.Context(), projectID, "")
	if err != nil {
		return err
	}
	used, err := s.inUse(r.Context(), s.db, projectID, "")
	if err != nil {
		return err
	}
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(buf.B, `{"limits":{"rate":[],"absolute":`...)
	buf.B = limitsEncoder.Append(buf.B, &limitsView{
		Cores: limits["cores"], Instances: limits["instances"], RAM: limits["ram"], Keypairs: limits["key_pairs"],
		ServerMeta: limits["metadata_items"], ServerGroups: limits["server_groups"], GroupMembers: limits["server_group_members"],
		CoresUsed: used["cores"], InstancesUsed: used["instances"], RAMUsed: used["ram"], ServerGroupsUsed: used["server_groups"],
		Personality: limits["injected_files"], PersonalitySize: limits["injected_file_content_bytes"],
		ImageMeta: limits["metadata_items"], FloatingIPs: limits["floating_ips"],
		SecurityGroups: limits["security_groups"], SecurityGroupRules: limits["security_group_rules"],
	}, compat.At{Version: r.Version})
	buf.B = append(buf.B, `}}`...)
	return r.AnswerBytes(w, buf.B)
}
