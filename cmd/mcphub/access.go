package main

import (
	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/server"
	"github.com/mcphub-go/mcphub/store"
)

// accessOf is who may come in, as the settings say it. Keys that are not enabled open nothing.
func accessOf(s *config.Settings) server.Access {
	a := server.Access{RequireKey: s.Routing.EnableBearerAuth, AdminToken: s.Cluster.AdminToken.Reveal()}
	if key := s.Routing.BearerAuthKey.Reveal(); key != "" {
		a.Keys = append(a.Keys, server.Key{Key: key, All: true})
	}
	for _, k := range s.BearerKeys {
		if k.Enabled {
			a.Keys = append(a.Keys, server.Key{
				Name: k.Name, Key: k.Key.Reveal(), All: k.AccessType == config.AccessAll, Groups: k.Groups, Servers: k.Servers,
			})
		}
	}
	for _, u := range s.Users {
		a.Users = append(a.Users, server.User{Name: u.Username, PasswordHash: u.PasswordHash.Reveal(), IsAdmin: u.IsAdmin})
	}
	return a
}

// groupsOf are the groups of the settings file.
func groupsOf(s *config.Settings) []store.Group {
	groups := make([]store.Group, len(s.Groups))
	for i, g := range s.Groups {
		groups[i] = store.Group{Name: g.Name, Description: g.Description, Servers: make([]store.GroupServer, len(g.Servers))}
		for j, srv := range g.Servers {
			groups[i].Servers[j] = store.GroupServer{Name: store.ServerID(srv.Name), Tools: srv.Tools}
		}
	}
	return groups
}

// strategyOf is how clients may name a node. Where affinity is off they may not.
func strategyOf(s config.Sticky) router.Strategy {
	if !s.Enabled {
		return router.StrategyHash
	}
	return router.Strategy(s.Strategy)
}

// setAccess takes over who may come in from new settings, but for the admin token, which is that
// of the start. After an error nothing has changed.
func (c *coordinator) setAccess(s *config.Settings) error {
	a := accessOf(s)
	a.AdminToken = c.cfg.Settings.Cluster.AdminToken.Reveal()
	return c.front.SetAccess(a)
}

// setGroups takes over the groups of a settings file that was read anew.
func (c *coordinator) setGroups(s *config.Settings) { c.groups.SetFixed(groupsOf(s)) }
