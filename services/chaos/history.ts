/**
 * What became of a call, as its client knows it. "unknown" is what a lost connection or a missed deadline leaves: it
 * may have happened or not, and both are right.
 */
export type Answer = "acknowledged" | "refused" | "unknown";

export interface UserRecord {
  readonly username: string;
  /** Who acts for the user, so that nobody ends a session that somebody else is using. */
  readonly actor: number;
  userId: string | undefined;
  registered: Answer;
  /** Which of these is right: the last acknowledged one, and those behind it whose change is unknown. */
  passwords: string[];
  /** The limit, once an admin's change of it was acknowledged. */
  quotaBytes: bigint | undefined;
  /** Answers of attempts to switch the account off, in order. */
  deactivation: Answer | undefined;
  /** Of an admin's attempt to delete the user: from the first one on it may have happened. */
  deletion: Answer | undefined;
  /** Wrong passwords that were given for this name. */
  mistakes: number;
  /** Of the session that the registration opened. */
  tokens: TokenPair | undefined;
  /** An admin lowers the limit for a while, perhaps below the use; what the user is shown meanwhile is no complaint. */
  isLimitMoving: boolean;
}

export interface TokenPair {
  readonly accessToken: string;
  readonly refreshToken: string;
}

export interface ChunkRecord {
  readonly chunkHash: string;
  readonly sizeBytes: bigint;
  readonly blockIndex: number;
  /** Its content: these bytes, in hex, again and again. */
  readonly pattern: string;
  /** Of chunks that are proved leaf by leaf; the others are proved whole. */
  readonly proofRoot: string | undefined;
}

/** One whom the load goes on working with. */
export function isAtWork({ registered, deactivation, deletion }: UserRecord): boolean {
  return registered === "acknowledged" && deactivation === undefined && deletion === undefined;
}

/** Somebody may have released it: its gateway, or the deletion of its user. */
export function isGivenBack({ release, user }: UploadRecord): boolean {
  return release !== undefined || user.deletion !== undefined;
}

/** What becomes of these is to be judged by this upload. */
export const ownChunks = ({ chunks, heir }: UploadRecord) => (heir === undefined ? chunks : []);

export interface UploadRecord {
  readonly uploadId: string;
  readonly user: UserRecord;
  readonly userId: string;
  readonly chunks: readonly ChunkRecord[];
  readonly replicas: number;
  placed: Answer;
  release: Answer | undefined;
  /** Another upload of the same chunks, which was placed before this one let go of them. */
  heir: UploadRecord | undefined;
  /** All assigned nodes have been told that they hold it, and have acknowledged. */
  isReported: boolean;
}

export interface ReservationRecord {
  readonly user: UserRecord;
  readonly userId: string;
  readonly key: string;
  readonly sizeBytes: bigint;
  reservationId: string | undefined;
  /** It was refused, or given back. */
  isOver: boolean;
}

export interface Refusal {
  readonly rpc: string;
  readonly code: string;
  readonly reason: string;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** A server sent this status; otherwise the client's own transport made it out of a lost connection or a deadline. */
  readonly isFromServer: boolean;
}

export interface Beat {
  readonly nodeId: string;
  readonly sentAtMs: number;
  answeredAtMs: number | undefined;
}

/** When something was done to the system that may keep nodes from reaching it. */
export interface Disturbance {
  readonly what: string;
  readonly target: string;
  readonly fromMs: number;
  toMs: number;
}

/** A node that said nothing for longer than its lease, on purpose. */
export interface Silence {
  readonly nodeId: string;
  readonly fromMs: number;
  /** How many events the subscriber had seen when it began. */
  readonly seenBefore: number;
  /** Infinity while it is silent. */
  toMs: number;
}

export interface SeenEvent {
  readonly stream: string;
  readonly eventId: string;
  readonly subject: string;
  readonly key: string;
  readonly keyVersion: number;
}

export interface NodeStateChange {
  readonly nodeId: string;
  readonly state: "in_service" | "maintenance";
  readonly answer: Answer;
}

export interface Supersession {
  readonly nodeId: string;
  readonly newFirstAnswerAtMs: number;
  /** When the older stream was last answered, and how it ended; open where it had not ended when watching ended. */
  readonly oldLastAnswerAtMs: number;
  readonly oldEnd: string;
}

/** An admin's change of a user's limit. */
export interface LimitChange {
  readonly userId: string;
  readonly bytes: bigint;
  readonly answer: Answer;
  /** How often it was asked for until that answer: what came before may have its effect late. */
  readonly tries: number;
}

/** Of living sessions, one or all, by their user: what it ended is in the record of dead tokens. */
export interface Revocation {
  readonly userId: string;
  readonly answer: Answer;
}

/** Tokens of a session whose end was acknowledged. */
export interface DeadTokens extends TokenPair {
  readonly userId: string;
  readonly why: string;
}

export interface CleanStop {
  readonly process: string;
  readonly fromMs: number;
  readonly tookMs: number;
  readonly end: string;
}

export interface FailedLogin {
  readonly kind: "unknown name" | "wrong password";
  /** Code, reason and message of the refusal; undefined for a login that was admitted. */
  readonly answer: string | undefined;
}

/** The checker's own record. Whatever the system says afterwards is compared with this alone. */
export interface History {
  readonly users: UserRecord[];
  readonly uploads: UploadRecord[];
  readonly reservations: ReservationRecord[];
  /** "node hash" of every replica that its node has taken and reported, and of those that were acknowledged as stored. */
  readonly reported: Set<string>;
  readonly confirmed: Set<string>;
  /** Reports of chunks that were never placed on their node, that were taken all the same. */
  readonly falseConfirmations: string[];
  /** Honest proofs that were not believed. */
  readonly proofComplaints: string[];
  /** "node hash" of what each node holds in the end, by its own word. */
  readonly held: Set<string>;
  /** Where clients are sent in the end: the nodes of each chunk. */
  readonly located: Map<string, readonly string[]>;
  readonly beats: Beat[];
  /** Nodes whose enrollment was acknowledged. */
  readonly joined: string[];
  readonly farNodes: Set<string>;
  readonly disturbances: Disturbance[];
  readonly silences: Silence[];
  readonly nodeStates: NodeStateChange[];
  readonly supersessions: Supersession[];
  readonly limits: LimitChange[];
  readonly revocations: Revocation[];
  readonly deadTokens: DeadTokens[];
  readonly refusals: Refusal[];
  /** Quota refusals whose figures do not justify them, and figures above the limit that somebody was shown. */
  readonly quotaComplaints: string[];
  readonly failedLogins: FailedLogin[];
  readonly sessionComplaints: string[];
  readonly finalLogins: Map<string, boolean>;
  readonly stops: CleanStop[];
  readonly seen: SeenEvent[];
  /** What a stranger at the broker was allowed to do. */
  readonly strangerSuccesses: string[];
  strangerAttempts: number;
  /** Calls by name and answer. */
  readonly calls: Map<string, number>;
  /** Of acknowledged calls. */
  readonly latencies: { readonly rpc: string; readonly atMs: number; readonly tookMs: number }[];
}

export function newHistory(): History {
  return {
    users: [],
    uploads: [],
    reservations: [],
    reported: new Set(),
    confirmed: new Set(),
    falseConfirmations: [],
    proofComplaints: [],
    held: new Set(),
    located: new Map(),
    beats: [],
    joined: [],
    farNodes: new Set(),
    disturbances: [],
    silences: [],
    nodeStates: [],
    supersessions: [],
    limits: [],
    revocations: [],
    deadTokens: [],
    refusals: [],
    quotaComplaints: [],
    failedLogins: [],
    sessionComplaints: [],
    finalLogins: new Map(),
    stops: [],
    seen: [],
    strangerSuccesses: [],
    strangerAttempts: 0,
    calls: new Map(),
    latencies: [],
  };
}
