"""What people can do to a running hub: the operations of `admin.Admin`, in a module a subject.

They are reached over the admin socket alone (`hub.server.admin_http`). Where no hub runs,
`hub.commands.alone` answers by the same names.
"""
