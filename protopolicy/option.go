// SPDX-License-Identifier: Apache-2.0

package protopolicy

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/grpcauth/grpcauth"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

const (
	optionNumber        = 51973 // of both options
	uninterpretedNumber = 999   // of what a parser left as it stood in the .proto, in all messages of options
	maxRule             = 64 << 10

	// The fields that lead to an option, by their numbers in google/protobuf/descriptor.proto.
	fileServices   = 6
	serviceMethods = 2
	serviceOptions = 3
	methodOptions  = 4
)

var ruleFields = (*grpcauthv1.Rule)(nil).ProtoReflect().Descriptor().Fields()

// annotated reports whether a service has an option, on itself or on a method, or something that may be one.
func annotated(s protoreflect.ServiceDescriptor) bool {
	if said, err := read(s.Options()); said != nil || err != nil {
		return true
	}
	for i := range s.Methods().Len() {
		if said, err := read(s.Methods().Get(i).Options()); said != nil || err != nil {
			return true
		}
	}
	return false
}

// read takes our option out of a descriptor's options; nil if it is not there.
//
// Whoever made the descriptor may have known the option as ours, as a message of its own making, or not at all. The bytes are the same each time.
// An option that occurs several times is merged, as protobuf does with every message.
func read(options proto.Message) (*grpcauthv1.Rule, error) {
	raw, err := proto.MarshalOptions{AllowPartial: true}.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("the options cannot be read: %w", err)
	}
	var rule *grpcauthv1.Rule
	for size := 0; len(raw) > 0; {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, fmt.Errorf("the options cannot be read: %w", protowire.ParseError(n))
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, kind, raw); n < 0 {
			return nil, fmt.Errorf("the options cannot be read: %w", protowire.ParseError(n))
		}
		value := raw[:n]
		raw = raw[n:]
		switch {
		case number == uninterpretedNumber:
			return nil, errors.New("the options were not interpreted by what parsed the file, and may hold a rule: use descriptors that protoc or buf made")
		case number != optionNumber:
			continue
		case kind != protowire.BytesType:
			return nil, errors.New("the option is not a message: another option has its number")
		}
		message, _ := protowire.ConsumeBytes(value) // it was consumed above
		if size += len(message); size > maxRule {
			return nil, fmt.Errorf("the rule has more than %d bytes", maxRule)
		}
		if rule == nil {
			rule = &grpcauthv1.Rule{}
		}
		if err := (proto.UnmarshalOptions{Merge: true, Resolver: (*protoregistry.Types)(nil)}).Unmarshal(message, rule); err != nil {
			return nil, fmt.Errorf("the rule cannot be read: %w", err)
		}
	}
	return rule, nil
}

// ruleOf says in Go what the option says. What this version does not know may be a restriction, so it is an error.
func ruleOf(m *grpcauthv1.Rule) (rule grpcauth.Rule, errs []error) {
	if len(m.ProtoReflect().GetUnknown()) > 0 || len(m.GetMaxAge().ProtoReflect().GetUnknown()) > 0 {
		errs = append(errs, errors.New("the rule has fields that this version of grpcauth does not know: update it"))
	}
	rule = grpcauth.Rule{
		Backends: m.GetBackends(), AllBackends: m.GetAllBackends(),
		Scopes: m.GetScopes(), AnyScopes: m.GetAnyScopes(),
		Permissions: m.GetPermissions(), AnyPermissions: m.GetAnyPermissions(),
		ACR: m.GetAcr(), RequireBound: m.GetRequireBound(),
	}
	switch m.GetAccess() {
	case grpcauthv1.Access_ACCESS_UNSPECIFIED, grpcauthv1.Access_ACCESS_REQUIRED:
		rule.Access = grpcauth.Required
	case grpcauthv1.Access_ACCESS_OPTIONAL:
		rule.Access = grpcauth.Optional
	case grpcauthv1.Access_ACCESS_PUBLIC:
		rule.Access = grpcauth.Public
	case grpcauthv1.Access_ACCESS_DENIED:
		rule.Access = grpcauth.Denied
	default:
		rule.Access = grpcauth.Denied
		errs = append(errs, fmt.Errorf("access %d is not known to this version of grpcauth: update it", m.GetAccess()))
	}
	if age := m.GetMaxAge(); age != nil {
		if rule.MaxAge = age.AsDuration(); age.CheckValid() != nil || rule.MaxAge <= 0 || rule.MaxAge == math.MaxInt64 {
			rule.MaxAge = time.Nanosecond
			errs = append(errs, errors.New("max_age is out of range: write a positive duration of at most 292 years, or leave it out for no limit"))
		}
	}
	return rule, errs
}

// at is the place of a service or method, by its option if that has a line of its own.
func (c *compiler) at(d protoreflect.Descriptor, options int32, pattern string) place {
	file := d.ParentFile()
	path := protoreflect.SourcePath{fileServices, int32(d.Index()), options, optionNumber} //nolint:gosec // an index of descriptors fits
	if m, ok := d.(protoreflect.MethodDescriptor); ok {
		path = protoreflect.SourcePath{fileServices, int32(m.Parent().Index()), serviceMethods, int32(m.Index()), options, optionNumber} //nolint:gosec // as above
	}
	locations := file.SourceLocations()
	location := locations.ByPath(path)
	for i := range ruleFields.Len() { // where the option was written field by field, each has a line
		if location.Path == nil {
			location = locations.ByPath(append(path, int32(ruleFields.Get(i).Number())))
		}
	}
	if location.Path == nil {
		location = locations.ByDescriptor(d)
	}
	at := place{file: file.Path(), pattern: pattern}
	if location.Path != nil && location.StartLine >= 0 {
		at.line = location.StartLine + 1
	}
	return at
}
