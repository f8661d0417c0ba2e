// Package api is the REST interface of Projects, under /api: described at /api/openapi.json, and for people at /api/docs.
//
// Who asks is known by a session's cookie. Whatever isn't done is answered with a problem (RFC 9457), whose detail is a sentence
// for people.
package api
