// Package projects is a reference application: staff guide customers through shared projects, with live progress, chat and
// notifications. It is what an application built on Trunkline looks like, and uses Trunkline's public packages alone.
//
// A Store does everything that people can do, each in one transaction: it asks the database whether the person may, changes
// rows, writes the audit trail, and notifies. What is delivered live is published by triggers of the tables, so that a change
// made with psql moves the pages as well.
package projects
