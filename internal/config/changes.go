package config

import "reflect"

// Changes tells what differs between two settings, by what must be done about it.
type Changes struct {
	// Servers, Groups, Keys, Users and Warnings may change in a running process. Keys is the
	// list bearerKeys, enableBearerAuth and bearerAuthKey.
	Servers, Groups, Keys, Users, Warnings bool
	// Restart are the paths of the other keys that differ, in the order of the reference: they
	// hold from the next start on.
	Restart []string
}

// Changes compares s, which is in force, with newer settings.
func (s *Settings) Changes(newer *Settings) Changes {
	c := Changes{
		Servers: !reflect.DeepEqual(s.Servers, newer.Servers),
		Groups:  !reflect.DeepEqual(s.Groups, newer.Groups),
		Keys: !reflect.DeepEqual(s.BearerKeys, newer.BearerKeys) || s.Routing.BearerAuthKey != newer.Routing.BearerAuthKey ||
			s.Routing.EnableBearerAuth != newer.Routing.EnableBearerAuth,
		Users:    !reflect.DeepEqual(s.Users, newer.Users),
		Warnings: !reflect.DeepEqual(s.Warnings, newer.Warnings),
	}
	before, after := &target{Settings: s, mode: s.Mode}, &target{Settings: newer, mode: newer.Mode}
	root.all(func(k *key) {
		if k.fixed() && k.get != nil && !k.reload && !reflect.DeepEqual(k.get(before), k.get(after)) {
			c.Restart = append(c.Restart, k.path)
		}
	})
	return c
}
