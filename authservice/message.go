// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/session"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// stamp is a time in a message, where never is not set.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func userOf(u *grpcauth.User) *grpcauthv1.User {
	return &grpcauthv1.User{
		Id: u.ID, Issuer: u.Issuer, Name: u.Name, Method: u.Method, Scopes: u.Scopes, Permissions: u.Permissions,
		Expiry: stamp(u.Expiry), AuthTime: stamp(u.AuthTime), Acr: u.ACR,
	}
}

func sessionOf(s *session.Session) *grpcauthv1.Session {
	return &grpcauthv1.Session{
		Handle: s.Handle, DeviceName: s.Device.Name, UserAgent: s.Device.UserAgent, Address: s.Device.Address,
		Created: stamp(s.Created), Seen: stamp(s.Seen), Expiry: stamp(s.Expiry), End: stamp(s.End), Current: s.Current,
	}
}

func keyOf(k *apikey.Key) *grpcauthv1.APIKey {
	return &grpcauthv1.APIKey{
		Id: k.ID, Name: k.Name, Scopes: k.Scopes, Permissions: k.Permissions,
		Created: stamp(k.Created), Expiry: stamp(k.Expiry), LastUsed: stamp(k.LastUsed), Disabled: k.Disabled,
	}
}
