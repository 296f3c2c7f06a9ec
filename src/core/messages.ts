/** One turn of a conversation as a task shows it; a chat template turns a list of them into text. */
export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}
