// SPDX-License-Identifier: Apache-2.0

// Package protopolicy compiles the rules that .proto files say of their services and methods into a [grpcauth.Policy].
//
// The options are those of grpcauth/v1/policy.proto. They are read from the descriptors' bytes, so it does not matter who made the descriptors nor
// whether the options were known there. What cannot be read, or asks for what this version does not know, is an error and never left out.
package protopolicy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/values"
	"github.com/grpcauth/grpcauth/internal/wire"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// Files are descriptors: protoregistry.GlobalFiles, which are those of the generated code in the program, or what [FromSet] returns.
type Files interface {
	RangeFiles(f func(protoreflect.FileDescriptor) bool)
}

// Options say what is compiled, and with what it is completed. All may be left out.
type Options struct {
	// Backends are the names that rules may use: those given to [grpcauth.WithBackends].
	Backends []string
	// AnyBackend takes every name of a backend. It is for tools that show rules: a server says which names it has.
	AnyBackend bool
	// Services are the full names of the services to compile, such as "shop.v1.OrderService". By default these are all that have an option, on the
	// service or on a method.
	Services []string
	// Default is the rule of the methods of those services that have no option, neither their own nor their service's. The zero Rule adds none, so that
	// [grpcauth.WithExplicitRules] finds these methods.
	Default grpcauth.Rule
	// Overlay are rules for what has no option, such as methods whose .proto somebody else owns. One for what has an option is an error.
	Overlay grpcauth.Policy
}

// New compiles the rules. A service's option is the rule "/package.Service/*", a method's the rule "/package.Service/Method", which replaces that of
// the service whole.
//
// The error has a line for each thing that is wrong, in the order of files and lines: "shop.proto:12: /shop.v1.OrderService/Get: ...". Lines are known
// where descriptors carry source information, as those that buf and protoc write do, and the ones in a program do not.
func New(files Files, opts Options) (grpcauth.Policy, error) {
	if values.IsNil(files) {
		return nil, errors.New("protopolicy: the files are nil: write protoregistry.GlobalFiles, or what FromSet returns")
	}
	c := compiler{opts: opts, backends: map[string]bool{}, services: map[string]*service{}, policy: grpcauth.Policy{}}
	for _, name := range opts.Backends {
		if name == "" {
			c.complainf(place{}, "protopolicy: Options.Backends has an empty entry: take it out or write its name")
		}
		c.backends[name] = true
	}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		c.declarations(file, file)
		for i := range file.Services().Len() {
			c.find(file.Services().Get(i))
		}
		return true
	})
	for _, name := range c.chosen() {
		c.compile(c.services[name])
	}
	c.overlay()
	c.rest()
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.policy, nil
}

type compiler struct {
	opts     Options
	backends map[string]bool
	services map[string]*service
	policy   grpcauth.Policy
	problems []problem
}

// service is one of the files' services. Only those that are compiled have options.
type service struct {
	protoreflect.ServiceDescriptor

	compiled bool
	own      place            // of the service's option
	methods  map[string]place // of the methods' options
}

// find takes down a service. Of two with one name nobody knows which is called.
func (c *compiler) find(d protoreflect.ServiceDescriptor) {
	name := string(d.FullName())
	if c.services[name] != nil {
		c.complainf(place{}, "protopolicy: the files declare the service %q more than once", name)
	}
	c.services[name] = &service{ServiceDescriptor: d, methods: map[string]place{}}
}

// chosen are the names of the services to compile, each once.
func (c *compiler) chosen() []string {
	names := slices.Sorted(maps.Keys(c.services))
	if len(c.opts.Services) == 0 {
		return slices.DeleteFunc(names, func(name string) bool { return !annotated(c.services[name]) })
	}
	for _, name := range c.opts.Services {
		if c.services[name] == nil {
			c.complainf(place{}, "protopolicy: Options.Services: %q is no service of the files: write its full name, such as \"shop.v1.OrderService\"", name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(c.opts.Services, name) })
}

// compile makes the rules of a service that stand in its .proto.
func (c *compiler) compile(s *service) {
	s.compiled = true
	pattern := "/" + string(s.FullName()) + "/"
	if at := c.at(s, serviceOptions, pattern+"*"); c.add(s, at) {
		s.own = at
	}
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		if at := c.at(m, methodOptions, pattern+string(m.Name())); c.add(m, at) {
			s.methods[string(m.Name())] = at
		}
	}
}

// add adds the rule of a service or method, and reports whether it has one.
func (c *compiler) add(d protoreflect.Descriptor, at place) bool {
	said, err := read(d.Options())
	if err != nil {
		c.complainf(at, "%v", err)
		return true
	}
	if said == nil {
		return false
	}
	rule, errs := ruleOf(said)
	for _, err := range errs {
		c.complainf(at, "%v", err)
	}
	c.check(at, "", at.pattern, rule)
	c.policy[at.pattern] = rule
	return true
}

// check complains about a rule that contradicts itself or names a backend that is not there.
func (c *compiler) check(at place, prefix, pattern string, rule grpcauth.Rule) {
	if err := (grpcauth.Policy{pattern: rule}).Validate(); err != nil {
		for reason := range strings.SplitSeq(strings.TrimPrefix(err.Error(), fmt.Sprintf("policy for %q: ", pattern)), "\n") {
			c.complainf(at, "%s%s", prefix, reason)
		}
	}
	names := slices.Concat(rule.Backends, rule.AllBackends)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name != "" && !c.backends[name] && !c.opts.AnyBackend {
			c.complainf(at, "%sno backend is named %q: write one of Options.Backends, or add it there and to WithBackends", prefix, name)
		}
	}
}

// overlay adds the rules in Go.
func (c *compiler) overlay() {
	for pattern, rule := range c.opts.Overlay {
		prefix := fmt.Sprintf("protopolicy: Options.Overlay[%q]: ", pattern)
		c.check(place{}, prefix, pattern, rule)
		name, method, _ := wire.SplitMethod(pattern)
		if s := c.services[name]; s != nil && s.compiled {
			for _, at := range []place{s.own, s.methods[method]} {
				if at.pattern != "" {
					c.complainf(place{}, "%sthe option of %s says so already, at %s: change it there", prefix, at.pattern, at.source())
				}
			}
		}
		c.policy[pattern] = own(rule)
	}
}

// rest gives the default to the methods that nothing else names. Each gets a rule of its own: "/package.Service/*" would open what is added later, too.
func (c *compiler) rest() {
	if reflect.DeepEqual(own(c.opts.Default), grpcauth.Rule{}) {
		return
	}
	c.check(place{}, "protopolicy: Options.Default: ", "/any.Service/*", c.opts.Default)
	for name, s := range c.services {
		if _, ruled := c.policy["/"+name+"/*"]; ruled || !s.compiled {
			continue
		}
		for i := range s.Methods().Len() {
			pattern := "/" + name + "/" + string(s.Methods().Get(i).Name())
			if _, ruled := c.policy[pattern]; !ruled {
				c.policy[pattern] = own(c.opts.Default)
			}
		}
	}
}

// own returns the rule with lists that nobody else can change. Empty ones are nil.
func own(r grpcauth.Rule) grpcauth.Rule {
	for _, list := range []*[]string{&r.Backends, &r.AllBackends, &r.Scopes, &r.AnyScopes, &r.Permissions, &r.AnyPermissions} {
		*list = append([]string(nil), *list...)
	}
	return r
}

// declarations finds an option of somebody else that has our number, or our name: one would be read for the other.
func (c *compiler) declarations(file protoreflect.FileDescriptor, in interface {
	Extensions() protoreflect.ExtensionDescriptors
	Messages() protoreflect.MessageDescriptors
},
) {
	for i := range in.Extensions().Len() {
		x := in.Extensions().Get(i)
		for _, ours := range []protoreflect.ExtensionTypeDescriptor{grpcauthv1.E_Service.TypeDescriptor(), grpcauthv1.E_Method.TypeDescriptor()} {
			name := x.FullName() == ours.FullName()
			number := x.Number() == ours.Number() && x.ContainingMessage().FullName() == ours.ContainingMessage().FullName()
			ruled := x.Message() != nil && x.Message().FullName() == ours.Message().FullName()
			if (name || number) && (!name || !number || !ruled) {
				c.complainf(place{file: file.Path(), pattern: string(x.FullName())}, "the option is not ours and has the name or the number, %d, of %s: one would be taken for the other", ours.Number(), ours.FullName())
			}
		}
	}
	for i := range in.Messages().Len() {
		c.declarations(file, in.Messages().Get(i))
	}
}

// place is where something stands. The zero place is that of the Options.
type place struct {
	file    string
	line    int // 0: not known
	pattern string
}

// source names the file, and the line if that is known. A name that would disturb the reader's terminal is quoted.
func (p place) source() string {
	file := p.file
	if strings.ContainsFunc(file, func(r rune) bool { return !unicode.IsPrint(r) }) {
		file = strconv.Quote(file)
	}
	if p.line > 0 {
		file += ":" + strconv.Itoa(p.line)
	}
	return file
}

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.file, q.file), cmp.Compare(p.line, q.line), strings.Compare(p.pattern, q.pattern))
}

type problem struct {
	place

	text string
}

func (c *compiler) complainf(at place, format string, args ...any) {
	c.problems = append(c.problems, problem{at, fmt.Sprintf(format, args...)})
}

// err joins all problems in an order that does not depend on that of maps.
func (c *compiler) err() error {
	slices.SortFunc(c.problems, func(a, b problem) int { return cmp.Or(a.compare(b.place), strings.Compare(a.text, b.text)) })
	c.problems = slices.Compact(c.problems)
	errs := make([]error, len(c.problems))
	for i, p := range c.problems {
		if errs[i] = errors.New(p.text); p.place != (place{}) {
			errs[i] = fmt.Errorf("%s: %s: %s", p.source(), p.pattern, p.text)
		}
	}
	return errors.Join(errs...)
}
