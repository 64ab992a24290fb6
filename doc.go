// SPDX-License-Identifier: Apache-2.0

// Package grpcauth authenticates gRPC calls: it finds out who calls, or refuses the call, before the handler runs.
//
// A [Backend] reads one kind of credential from a [Request] and answers with a [User]. An [Interceptor] applies
// backends to unary and streaming calls by the rules of a [Policy], answers refusals with the gRPC status that the
// table in [Code] names, and puts the user into the context, where [FromContext] finds it.
//
// Everything denies unless told otherwise: the zero [Rule] requires a user, and every error, panic or missing answer
// of a backend refuses the call. A backend has four answers: [ErrNoCredentials] (the credential is not mine), a user
// (accepted), an [AuthenticationError] (rejected), or any other error (could not decide, which callers see as UNAVAILABLE).
package grpcauth
