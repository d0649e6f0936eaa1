package metadata

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"kilonova/work"
)

// What a client calls its files decides nothing: they are content/0000 and so on, and the
// name is a word in meta_data.json.
func TestOSSA_2012_008_2012_011_2011_001_NamesOfFilesArePathsOfNothing(t *testing.T) {
	g := guest()
	names := []string{"../../../../etc/passwd", "/etc/shadow", "../meta_data.json", "openstack/latest/meta_data.json", "a\x00b", `..\..\x`, "", "."}
	g.Files = nil
	for _, n := range names {
		g.Files = append(g.Files, work.File{Path: n, Contents: "bWFya2Vk"}) // "marked"
	}
	g.Name, g.Hostname, g.Key.Name = "../../name", "../../host", "../../key"
	g.Metadata = map[string]string{"../../k": "../../v"}
	files, err := Files(g)
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for p, data := range files {
		if path.Clean(p) != p || !strings.HasPrefix(p, "openstack/") && !strings.HasPrefix(p, "ec2/") {
			t.Errorf("a file stands at %q", p)
		}
		if string(data) == "marked" {
			held++
			if !strings.HasPrefix(p, "openstack/content/") {
				t.Errorf("a client's file stands at %q", p)
			}
		}
	}
	if held != len(names) {
		t.Errorf("%d files of %d are there", held, len(names))
	}
	var doc struct {
		Files []struct {
			Path    string `json:"path"`
			Content string `json:"content_path"`
		} `json:"files"`
	}
	err = json.Unmarshal(files["openstack/latest/meta_data.json"], &doc)
	if err != nil || len(doc.Files) != len(names) || doc.Files[0].Path != names[0] || doc.Files[0].Content != "/content/0000" {
		t.Errorf("files %+v, %v", doc.Files, err)
	}
}

// The password is for the guest alone: only the documents of the guest's own drive have it,
// and the EC2 tree, which has no place for it, has none.
func TestOSSA_2014_036_PasswordOnlyWhereItBelongs(t *testing.T) {
	g := guest()
	g.AdminPass = "MarkedSecret"
	files, err := Files(g)
	if err != nil {
		t.Fatal(err)
	}
	for p, data := range files {
		if strings.Contains(string(data), g.AdminPass) && path.Base(p) != "meta_data.json" {
			t.Errorf("%s has the password", p)
		}
	}
	g.UserData = "MarkedSecret is no base64"
	_, err = Files(g)
	if err == nil || strings.Contains(err.Error(), "MarkedSecret") {
		t.Errorf("the error of bad user data is %v", err)
	}
}
