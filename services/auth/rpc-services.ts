import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import { changePassword } from "./accounts/change-password.rpc.ts";
import { deleteUser } from "./accounts/delete-user.rpc.ts";
import { getCurrentUser } from "./accounts/get-current-user.rpc.ts";
import { getUser } from "./accounts/get-user.rpc.ts";
import { listUsers } from "./accounts/list-users.rpc.ts";
import { login } from "./accounts/login.rpc.ts";
import { register } from "./accounts/register.rpc.ts";
import { setUserActive } from "./accounts/set-user-active.rpc.ts";
import { setUserAdmin } from "./accounts/set-user-admin.rpc.ts";
import { listAuditEvents } from "./audit/list-audit-events.rpc.ts";
import type { Deps } from "./deps.ts";
import { getJsonWebKeySet } from "./keys/get-json-web-key-set.rpc.ts";
import { createServiceClient } from "./service-clients/create-service-client.rpc.ts";
import { issueServiceToken } from "./service-clients/issue-service-token.rpc.ts";
import { listServiceClients } from "./service-clients/list-service-clients.rpc.ts";
import { revokeServiceClient } from "./service-clients/revoke-service-client.rpc.ts";
import { rotateServiceClientSecret } from "./service-clients/rotate-service-client-secret.rpc.ts";
import { listSessions } from "./sessions/list-sessions.rpc.ts";
import { logout } from "./sessions/logout.rpc.ts";
import { refreshSession } from "./sessions/refresh-session.rpc.ts";
import { revokeAllSessions } from "./sessions/revoke-all-sessions.rpc.ts";
import { revokeSession } from "./sessions/revoke-session.rpc.ts";

/** Every RPC of the contract that is auth's. */
export function authServices(deps: Deps): readonly RpcService[] {
  return [
    implement(AuthService, {
      register: register(deps),
      login: login(deps),
      refreshSession: refreshSession(deps),
      logout: logout(deps),
      getCurrentUser: getCurrentUser(deps),
      changePassword: changePassword(deps),
      listSessions: listSessions(deps),
      revokeSession: revokeSession(deps),
      revokeAllSessions: revokeAllSessions(deps),
    }),
    implement(UserAdminService, {
      listUsers: listUsers(deps),
      getUser: getUser(deps),
      setUserActive: setUserActive(deps),
      setUserAdmin: setUserAdmin(deps),
      deleteUser: deleteUser(deps),
      listAuditEvents: listAuditEvents(deps),
    }),
    implement(TokenService, {
      issueServiceToken: issueServiceToken(deps),
      createServiceClient: createServiceClient(deps),
      listServiceClients: listServiceClients(deps),
      rotateServiceClientSecret: rotateServiceClientSecret(deps),
      revokeServiceClient: revokeServiceClient(deps),
      getJsonWebKeySet: getJsonWebKeySet(deps),
    }),
  ];
}
