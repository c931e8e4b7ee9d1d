package config

// Changes tells what differs between two settings, by what must be done about it.
type Changes struct {
	// Servers, Groups, Keys, Users and Warnings may change in a running process. Keys is the
	// list bearerKeys, enableBearerAuth and bearerAuthKey.
	Servers, Groups, Keys, Users, Warnings bool
	// Restart are the paths of the other keys that differ, in the order of the reference: they
	// hold from the next start on.
	Restart []string
}
