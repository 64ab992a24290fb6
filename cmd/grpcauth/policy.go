// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/protopolicy"
)

// maxSet is the size of the largest descriptor set that is read.
const maxSet = 64 << 20

const policyHelp = `Shows the rule of every method of the descriptor set or buf image in FILE, or on the standard input (buf build -o - | grpcauth policy). With -diff it
shows the methods whose callers change instead, and the exit code is 1 if anybody gains access.`

func policyCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("policy", flag.ContinueOnError)
	backends := flags.String("backends", "", "the `names` that rules may use, between commas; all by default")
	services := flags.String("services", "", "the full `names` of the services, between commas; by default those with an option or in the overlay; \"all\" for all")
	overlay := flags.String("overlay", "", "a `file` of JSON with rules for methods that have no option: {\"/grpc.health.v1.Health/*\": {\"access\": \"public\"}}")
	format := flags.String("format", "table", "`table`, markdown or json")
	old := flags.String("diff", "", "compare with the descriptor set in this `file`, which is older")
	file, err := parse(flags, args, policyHelp, stderr)
	if err != nil {
		return err
	}
	write, ok := formats[*format]
	if !ok {
		return fmt.Errorf("-format %q: write table, markdown or json", *format)
	}
	opts := protopolicy.Options{Backends: names(*backends), AnyBackend: *backends == ""}
	if *overlay != "" {
		if opts.Overlay, err = readOverlay(*overlay); err != nil {
			return fmt.Errorf("-overlay: %w", err)
		}
	}
	now, err := load(file, stdin, *services, opts)
	if err != nil {
		return err
	}
	for method := range opts.Overlay {
		if !slices.ContainsFunc(now, func(r row) bool { return r.Method == method || r.From == method }) {
			return fmt.Errorf("-overlay: %q is no method of these files, nor the rest of a service that needs a rule", method)
		}
	}
	if *old == "" {
		return write.rules(stdout, now)
	}
	before, err := load(*old, stdin, *services, opts)
	if err != nil {
		return fmt.Errorf("-diff: %w", err)
	}
	changes := diff(before, now)
	if err := write.changes(stdout, changes); err != nil {
		return err
	}
	if slices.ContainsFunc(changes, func(c change) bool { return c.Gains }) {
		fmt.Fprintln(stderr, "grpcauth policy: somebody gains access")
		return errNo
	}
	return nil
}

func names(list string) (all []string) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// row is a method and its rule.
type row struct {
	Method string `json:"method"`
	From   string `json:"rule"` // the policy's key; empty: no rule names the method
	ruleJSON
	rule grpcauth.Rule
}

// ruleJSON is a rule with the names of policy.proto.
type ruleJSON struct {
	Access         string   `json:"access,omitempty"`
	Backends       []string `json:"backends,omitempty"`
	AllBackends    []string `json:"all_backends,omitempty"`
	Scopes         []string `json:"scopes,omitempty"`
	AnyScopes      []string `json:"any_scopes,omitempty"`
	Permissions    []string `json:"permissions,omitempty"`
	AnyPermissions []string `json:"any_permissions,omitempty"`
	MaxAge         string   `json:"max_age,omitempty"`
	ACR            string   `json:"acr,omitempty"`
	RequireBound   bool     `json:"require_bound,omitempty"`
}

func toJSON(r grpcauth.Rule) ruleJSON {
	j := ruleJSON{r.Access.String(), r.Backends, r.AllBackends, r.Scopes, r.AnyScopes, r.Permissions, r.AnyPermissions, "", r.ACR, r.RequireBound}
	if r.MaxAge > 0 {
		j.MaxAge = r.MaxAge.String()
	}
	return j
}

func (j *ruleJSON) rule() (r grpcauth.Rule, err error) {
	r = grpcauth.Rule{
		Backends: j.Backends, AllBackends: j.AllBackends, Scopes: j.Scopes, AnyScopes: j.AnyScopes, Permissions: j.Permissions, AnyPermissions: j.AnyPermissions,
		ACR: j.ACR, RequireBound: j.RequireBound,
	}
	for r.Access = grpcauth.Required; j.Access != "" && r.Access.String() != j.Access; r.Access++ {
		if r.Access == grpcauth.Denied {
			return r, fmt.Errorf("access %q: write required, optional, public or denied", j.Access)
		}
	}
	if j.MaxAge != "" {
		r.MaxAge, err = time.ParseDuration(j.MaxAge)
	}
	return r, err
}

func readOverlay(file string) (grpcauth.Policy, error) {
	text, err := read(file, nil, 1<<20)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	var rules map[string]ruleJSON
	if err := decoder.Decode(&rules); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is something behind the object", file)
	}
	policy := grpcauth.Policy{}
	for method, j := range rules {
		if policy[method], err = j.rule(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, method, err)
		}
	}
	return policy, nil
}

// load reads a descriptor set and returns the rules of its methods in their order.
func load(file string, stdin io.Reader, services string, opts protopolicy.Options) ([]row, error) {
	raw, err := read(file, stdin, maxSet)
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(raw, set); err != nil || len(set.GetFile()) == 0 {
		return nil, fmt.Errorf("%s is no descriptor set: write one with buf build -o FILE, or with protoc --include_imports --include_source_info -o FILE", file)
	}
	files, err := protopolicy.FromSet(set)
	if err != nil {
		return nil, err
	}
	all := methods(files)
	if services == "all" {
		opts.Services = slices.Sorted(maps.Keys(all))
	} else {
		opts.Services = names(services)
	}
	policy, err := protopolicy.New(files, opts)
	if err != nil {
		return nil, err
	}
	shown := map[string]bool{}
	for _, name := range opts.Services {
		shown[name] = true
	}
	for method := range policy {
		shown[serviceOf(method)] = true
	}
	var rows []row
	for _, service := range slices.Sorted(maps.Keys(all)) {
		if !shown[service] {
			continue
		}
		for _, method := range all[service] {
			from := method
			rule, ok := policy[from]
			if !ok {
				from = "/" + service + "/*"
				if rule, ok = policy[from]; !ok {
					from = ""
				}
			}
			rows = append(rows, row{method, from, toJSON(rule), rule})
		}
	}
	return rows, nil
}

// methods are the full names of all methods by their services, sorted.
func methods(files *protoregistry.Files) map[string][]string {
	all := map[string][]string{}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			name := string(service.FullName())
			all[name] = []string{}
			for k := range service.Methods().Len() {
				all[name] = append(all[name], "/"+name+"/"+string(service.Methods().Get(k).Name()))
			}
			slices.Sort(all[name])
		}
		return true
	})
	return all
}

func serviceOf(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service
}

// change is a method whose callers are others than before.
type change struct {
	Method string `json:"method"`
	// Gains tells that somebody is let in who was not, and Loses that somebody is not who was.
	Gains bool      `json:"gains"`
	Loses bool      `json:"loses"`
	Old   *ruleJSON `json:"old"` // nil: the method is new
	New   *ruleJSON `json:"new"` // nil: the method is gone
}

// diff lists the methods whose callers change, and those whose rule does in another way: backends that are asked in vain, or a user who is not known any more.
func diff(before, now []row) (changes []change) {
	byMethod := func(rows []row) map[string]row {
		m := map[string]row{}
		for _, r := range rows {
			m[r.Method] = r
		}
		return m
	}
	older, newer := byMethod(before), byMethod(now)
	denied := grpcauth.Rule{Access: grpcauth.Denied} // what a method that is not there amounts to
	for _, method := range slices.Sorted(maps.Keys(merge(older, newer))) {
		was, is := older[method], newer[method]
		c := change{Method: method}
		if _, ok := older[method]; ok {
			c.Old = &was.ruleJSON
		} else {
			was.rule = denied
		}
		if _, ok := newer[method]; ok {
			c.New = &is.ruleJSON
		} else {
			is.rule = denied
		}
		c.Gains, c.Loses = compare(was.rule, is.rule)
		if c.Gains || c.Loses || c.Old == nil || c.New == nil || was.describe() != is.describe() {
			changes = append(changes, c)
		}
	}
	return changes
}

func merge(a, b map[string]row) map[string]row {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// describe is what a rule asks, in one line.
func (j *ruleJSON) describe() string {
	if j == nil {
		return "(no such method)"
	}
	text := []string{cmp.Or(j.Access, "required")}
	for _, list := range []struct {
		name, between string
		entries       []string
	}{
		{"backends", "|", j.Backends},
		{"backends", "+", j.AllBackends},
		{"scopes", "+", j.Scopes},
		{"scopes", "|", j.AnyScopes},
		{"permissions", "+", j.Permissions},
		{"permissions", "|", j.AnyPermissions},
	} {
		if len(list.entries) > 0 {
			text = append(text, list.name+"="+strings.Join(list.entries, list.between))
		}
	}
	if j.MaxAge != "" {
		text = append(text, "max_age="+j.MaxAge)
	}
	if j.ACR != "" {
		text = append(text, "acr="+j.ACR)
	}
	if j.RequireBound {
		text = append(text, "bound")
	}
	return plain(strings.Join(text, " "))
}
